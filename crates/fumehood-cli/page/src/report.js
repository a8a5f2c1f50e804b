// What a report says, in words. Nothing here touches the document.

import { bytes, time } from "./units.js";

const SIGNALS = {
  1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL, an illegal instruction", 5: "SIGTRAP",
  6: "SIGABRT, an abort", 7: "SIGBUS, a bad address", 8: "SIGFPE, an arithmetic error", 9: "SIGKILL",
  10: "SIGUSR1", 11: "SIGSEGV, a bad address", 12: "SIGUSR2", 13: "SIGPIPE", 14: "SIGALRM",
  15: "SIGTERM", 24: "SIGXCPU", 25: "SIGXFSZ", 31: "SIGSYS, a forbidden system call",
};

/// Endings of which it matters when they came.
const TIMED = new Set(["exited", "signaled", "cancelled"]);

const good = (words) => ({ tone: "good", words });
const bad = (words) => ({ tone: "bad", words });

/// How a run ended: a sentence without its full stop, and whether that is good or bad. `stopped` if
/// whoever reads it wanted that.
export function outcomeWords({ outcome, usage }, language, stopped = false) {
  const { tone, words } = stopped && outcome.kind === "cancelled" ? bad("Stopped by you") : ending(outcome, language);
  const wall = usage?.wall_us?.value;
  const timed = TIMED.has(outcome.kind) && wall !== undefined;
  return { tone, words: timed ? `${words} after ${time(wall)}` : words };
}

function ending(outcome, { limits, compile_failed: refused }) {
  switch (outcome.kind) {
    case "exited":
      if (outcome.code === 0) return good("Finished");
      if (refused && outcome.code === refused) return bad("Did not compile");
      return bad(`Ended with exit status ${outcome.code}`);
    case "signaled":
      return bad(`Ended by ${SIGNALS[outcome.signal] ?? `signal ${outcome.signal}`}`);
    case "timed-out": {
      const [clock, limit] = outcome.limit === "cpu" ? ["CPU time", limits?.cpu_us] : ["time", limits?.wall_us];
      return bad(`Stopped at its ${clock} limit${limit ? ` of ${time(limit)}` : ""}`);
    }
    case "out-of-memory":
      return bad(`Stopped: more memory than ${amount(limits?.memory, bytes)}`);
    case "output-limit":
      return bad(`Stopped: more ${outcome.stream} than ${amount(limits?.output, bytes)}`);
    case "disk-limit":
      return bad("Stopped: a file grew larger than it may");
    case "pids-limit":
      return bad(`Ended after asking for more processes than ${amount(limits?.pids, String)}`);
    case "denied":
      return bad(`Stopped at a forbidden system call${outcome.syscall ? `, ${outcome.syscall}` : ""}`);
    case "cancelled":
      return bad("Stopped by the service");
    default:
      return bad(`Ended: ${outcome.kind}`);
  }
}

const amount = (value, unit) => (value === undefined || value === null ? "it may have" : unit(value));

/// One row for each resource: its name, what was used, of how much, by which measure. `used` is null
/// where the host has no measure, `most` where there is no limit.
export function usageRows({ usage = {} }, limits = {}) {
  const cpu = sum(usage.user_us, usage.system_us);
  return [
    row("Time", usage.wall_us, limits.wall_us, time),
    row("CPU time", cpu, limits.cpu_us, time),
    row("Memory", usage.peak_memory, limits.memory, bytes),
    row("Processes", usage.peak_pids, limits.pids, String),
  ];
}

function sum(one, other) {
  return one && other && { value: one.value + other.value, source: one.source };
}

function row(name, figure, most, unit) {
  const used = figure?.value ?? null;
  const limit = most ?? null;
  const share = used !== null && limit ? Math.min(used / limit, 1) : 0;
  const words = used === null ? "not measured" : unit(used);
  return { name, share, words, of: limit === null ? "no limit" : `of ${unit(limit)}`, source: figure?.source ?? "" };
}

const NAMES = {
  filesystem: "Sees only the files it was given",
  "read-only-root": "Cannot write to the host's files",
  processes: "Cannot see, signal or outlive other processes",
  network: "Has no network",
  ipc: "Shares no memory or queues with others",
  "no-privileges": "Has no privileges",
  "syscall-filter": "System calls are filtered",
  landlock: "A second fence around its files",
  memory: "Memory is limited",
  pids: "Processes are limited",
  "cpu-time": "CPU time is limited",
  "wall-time": "Time is limited",
  output: "Output is limited",
  disk: "Disk space is limited",
  "kernel-boundary": "Has a kernel of its own",
};

/// One row for each guarantee, as the report has them: whether it held, and by what or why not.
export function guaranteeRows({ confinement }) {
  const waived = new Set(confinement.waived);
  return Object.entries(confinement.guarantees).map(([key, standing]) => {
    const held = standing.state === "held";
    const because = held ? standing.by.join(", ") : reason(standing, waived.has(key));
    return { key, words: NAMES[key] ?? key, held, because };
  });
}

function reason({ reason, stand_in: standIn }, waived) {
  return [waived ? "waived" : null, reason, standIn && `instead: ${standIn}`].filter(Boolean).join("; ");
}
