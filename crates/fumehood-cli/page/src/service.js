// What the page asks of the service. It is allowed nothing that any other client is not.

import { jsonLines } from "./lines.js";

const KEY = "fumehood-token";

/// The token that was given to this page, where it cannot be stored.
let given = null;

/// A problem document (RFC 9457) or what comes nearest to one.
export class Refused extends Error {
  constructor(status, problem, retryAfter) {
    super(problem?.detail || problem?.title || `The service answered with status ${status}.`);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  const token = given ?? stored();
  if (token) headers.authorization = `Bearer ${token}`;
  const response = await fetch(path, { ...options, headers, redirect: "error" });
  if (response.ok) return response;
  const problem = await response.json().catch(() => null);
  throw new Refused(response.status, problem, response.headers.get("retry-after"));
}

export function useToken(token) {
  given = token;
  try {
    sessionStorage.setItem(KEY, token);
  } catch {
    // Storage can be forbidden. Then it lives as long as the page.
  }
}

function stored() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}

/// The languages of this host, with the job that each program becomes.
export async function languages() {
  const response = await ask("v1/languages", { headers: { accept: "application/json" } });
  return response.json();
}

/// The job of a program: the language's, with the program as a file, arguments and input put in.
export function jobOf(language, { source, stdin, args }) {
  const { job, path } = language;
  return {
    ...job,
    args: [...job.args, ...args],
    inputs: [...(job.inputs ?? []), { text: source, to: path }],
    ...(stdin === "" ? {} : { stdin: { text: stdin } }),
  };
}

/// Has a run end, whose events then tell how.
export function cancel(id) {
  return ask(`v1/runs/${encodeURIComponent(id)}`, { method: "DELETE" });
}

/// The events of a run, as they come. The run ends when `signal` aborts: the service kills whatever
/// nobody waits for any more.
export async function* run(language, program, signal) {
  const base = language.profile ? `?profile=${encodeURIComponent(language.profile)}` : "";
  const response = await ask(`v1/runs${base}`, {
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/x-ndjson" },
    body: JSON.stringify(jobOf(language, program)),
    signal,
  });
  yield* jsonLines(response.body);
}
