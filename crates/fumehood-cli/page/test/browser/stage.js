// A service of our own and a browser that looks at it.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const BINARY = process.env.FUMEHOOD_BIN;
const BROWSER = process.env.CHROMIUM ?? "/usr/bin/chromium";

/// Starts a service with these settings (TOML) on a port of its own.
export async function startService(settings = "") {
  assert.ok(BINARY, "FUMEHOOD_BIN names no binary to test");
  const dir = await mkdtemp(join(tmpdir(), "fumehood-page-"));
  const config = join(dir, "serve.toml");
  await writeFile(config, settings.replaceAll("DIR", dir));
  if (settings.includes("tokens")) {
    await writeFile(join(dir, "tokens.toml"), `[[token]]\nname = "test"\nsecret = "${TOKEN}"\n`, { mode: 0o600 });
  }
  const child = spawn(BINARY, ["serve", "--config", config, "--listen", "127.0.0.1:0"], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  // Whoever gives up on us shall find nothing left behind.
  process.once("exit", () => child.kill("SIGKILL"));
  const url = await listening(child);
  return {
    url,
    async stop() {
      const gone = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGTERM");
      assert.equal(await gone, 0, "the service stops in good order");
      await rm(dir, { recursive: true });
    },
  };
}

export const TOKEN = "a-token-for-the-test";

process.once("SIGTERM", () => process.exit(1));

/// Waits for the line that says where it listens.
function listening(child) {
  return new Promise((resolve, reject) => {
    let said = "";
    child.stderr.setEncoding("utf8").on("data", (text) => {
      said += text;
      const [, address] = /listening on ([0-9.:]+)\n/.exec(said) ?? [];
      if (address) resolve(`http://${address}/`);
    });
    child.once("exit", () => reject(new Error(`the service did not start: ${said}`)));
  });
}

export function startBrowser() {
  // The browser's own sandbox does not work for root.
  const args = process.getuid() === 0 ? ["--no-sandbox"] : [];
  return chromium.launch({ executablePath: BROWSER, args });
}

/// A service and a browser, for a test or for all of a file.
export async function stage(settings) {
  const browser = await startBrowser();
  const service = await startService(settings).catch((error) => browser.close().then(() => { throw error; }));
  return {
    url: service.url,
    /// A fresh profile's page, which says in the end whether anything was wrong with it.
    async visit({ forgetful, settled, unanswered = 0, ...options } = {}, path = "") {
      const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
      context.setDefaultTimeout(120_000);
      const wrong = watch(context, service.url);
      if (forgetful) await context.addInitScript(forbidStorage);
      const breaksOff = (route) => (unanswered-- > 0 ? route.fulfill({ status: 502, body: "" }) : route.continue());
      await context.route("**/v1/languages", breaksOff);
      if (settled) await context.route("**/v1/languages", withoutThoseLookedFor);
      const page = await context.newPage();
      await page.goto(service.url + path);
      return new Visit(page, wrong);
    },
    async strike() {
      await browser.close();
      await service.stop();
    },
  };
}

/// Answers as a service does that has found out everything.
async function withoutThoseLookedFor(route) {
  const response = await route.fetch();
  const { languages } = await response.json();
  await route.fulfill({ response, json: { languages: languages.filter(({ state }) => state !== "looking") } });
}

/// What a browser does that is told to keep nothing of any site.
function forbidStorage() {
  const get = () => { throw new DOMException("Access is denied", "SecurityError"); };
  for (const name of ["localStorage", "sessionStorage"]) Object.defineProperty(globalThis, name, { get });
}

/// Collects what must not happen on any page: requests to others, violations of the policy, errors.
function watch(context, url) {
  const wrong = [];
  context.on("request", (request) => {
    if (!request.url().startsWith(url)) wrong.push(`a request to ${request.url()}`);
  });
  context.on("console", (message) => {
    if (["error", "warning"].includes(message.type()) && !/status of (4|502)/.test(message.text())) {
      wrong.push(`the console says: ${message.text()}`);
    }
  });
  context.on("weberror", (error) => wrong.push(`an error: ${error.error()}`));
  context.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) => {
      console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`);
    });
  });
  return wrong;
}

/// A page as its user has it.
export class Visit {
  constructor(page, wrong) {
    this.page = page;
    this.wrong = wrong;
  }

  async choose(language) {
    const option = this.page.locator(`#language option[value="${language}"]`);
    await option.filter({ hasNotText: /looking|not here/ }).waitFor({ state: "attached" });
    await this.page.selectOption("#language", language);
  }

  /// Replaces the program.
  async write(source) {
    await this.page.locator(".cm-content").click();
    await this.page.keyboard.press("Control+a");
    await this.page.keyboard.press("Delete");
    await this.page.keyboard.insertText(source);
  }

  text = () => this.page.locator(".cm-content").evaluate((content) => content.cmTile?.view?.state.doc.toString()
    ?? [...content.querySelectorAll(".cm-line")].map((line) => line.textContent).join("\n"));

  /// Waits for the end of a run and says how it went.
  async outcome() {
    const place = this.page.locator('#outcome:is([data-tone="good"], [data-tone="bad"])');
    await place.waitFor();
    return place.textContent();
  }

  async stream(name) {
    const spans = await this.page.locator(`#output .${name}`).allTextContents();
    return spans.join("");
  }

  /// Leaves, if nothing was wrong.
  async leave() {
    await this.page.context().close();
    assert.deepEqual(this.wrong, []);
  }
}
