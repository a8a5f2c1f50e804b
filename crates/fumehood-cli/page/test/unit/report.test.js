import assert from "node:assert/strict";
import { test } from "node:test";
import { guaranteeRows, outcomeWords, usageRows } from "../../src/report.js";
import { bytes, time } from "../../src/units.js";

const LANGUAGE = {
  compile_failed: 222,
  limits: { wall_us: 10e6, cpu_us: 5e6, memory: 2 ** 29, pids: 64, output: 2 ** 20 },
};

test("every outcome has its words", () => {
  for (const [outcome, tone, words] of [
    [{ kind: "exited", code: 0 }, "good", "Finished after 1.5 s"],
    [{ kind: "exited", code: 3 }, "bad", "Ended with exit status 3 after 1.5 s"],
    [{ kind: "exited", code: 222 }, "bad", "Did not compile after 1.5 s"],
    [{ kind: "signaled", signal: 11 }, "bad", "Ended by SIGSEGV, a bad address after 1.5 s"],
    [{ kind: "signaled", signal: 40 }, "bad", "Ended by signal 40 after 1.5 s"],
    [{ kind: "timed-out", limit: "wall" }, "bad", "Stopped at its time limit of 10 s"],
    [{ kind: "timed-out", limit: "cpu" }, "bad", "Stopped at its CPU time limit of 5 s"],
    [{ kind: "out-of-memory" }, "bad", "Stopped: more memory than 512 MiB"],
    [{ kind: "output-limit", stream: "stderr" }, "bad", "Stopped: more stderr than 1 MiB"],
    [{ kind: "disk-limit" }, "bad", "Stopped: a file grew larger than it may"],
    [{ kind: "pids-limit" }, "bad", "Ended after asking for more processes than 64"],
    [{ kind: "denied", syscall: "ptrace" }, "bad", "Stopped at a forbidden system call, ptrace"],
    [{ kind: "denied", syscall: null }, "bad", "Stopped at a forbidden system call"],
    [{ kind: "cancelled" }, "bad", "Stopped by the service after 1.5 s"],
    [{ kind: "something-new" }, "bad", "Ended: something-new"],
  ]) {
    const report = { outcome, usage: { wall_us: { value: 1.5e6 } } };
    assert.deepEqual(outcomeWords(report, LANGUAGE), { tone, words });
  }
});

test("who stopped a program is told that", () => {
  const report = { outcome: { kind: "cancelled" }, usage: { wall_us: { value: 1.5e6 } } };
  assert.equal(outcomeWords(report, LANGUAGE, true).words, "Stopped by you after 1.5 s");
  const late = { outcome: { kind: "exited", code: 0 }, usage: {} };
  assert.equal(outcomeWords(late, LANGUAGE, true).words, "Finished");
});

test("a status means a compiler's refusal only in languages that are compiled", () => {
  const report = { outcome: { kind: "exited", code: 222 }, usage: {} };
  assert.equal(outcomeWords(report, {}).words, "Ended with exit status 222");
});

test("usage is shown against its limit, and what was not measured as such", () => {
  const usage = {
    wall_us: { value: 2.5e6, source: "monotonic clock" }, user_us: { value: 1e6, source: "cgroup" },
    system_us: { value: 5e5, source: "cgroup" }, peak_memory: { value: 2 ** 30, source: "cgroup memory.peak" },
  };
  const rows = usageRows({ usage }, { ...LANGUAGE.limits, wall_us: null });
  assert.deepEqual(rows.map(({ name, share, words, of }) => [name, share, words, of]), [
    ["Time", 0, "2.5 s", "no limit"],
    ["CPU time", 0.3, "1.5 s", "of 5 s"],
    ["Memory", 1, "1 GiB", "of 512 MiB"],
    ["Processes", 0, "not measured", "of 64"],
  ]);
});

test("a guarantee says what holds it, or why it does not hold", () => {
  const rows = guaranteeRows({ confinement: { waived: ["memory"], guarantees: {
    network: { state: "held", by: ["network namespace", "seccomp"] },
    memory: { state: "not-held", reason: "no group", stand_in: "RLIMIT_DATA" },
    "something-new": { state: "held", by: ["magic"] },
  } } });
  assert.deepEqual(rows.map(({ words, held, because }) => [words, held, because]), [
    ["Has no network", true, "network namespace, seccomp"],
    ["Memory is limited", false, "waived; no group; instead: RLIMIT_DATA"],
    ["something-new", true, "magic"],
  ]);
});

test("figures have the unit that suits them", () => {
  assert.deepEqual([0, 999, 1000, 12_345, 999_499, 999_500, 61e6].map(time),
    ["0 µs", "999 µs", "1 ms", "12.3 ms", "999 ms", "1 s", "61 s"]);
  assert.deepEqual([0, 1023, 1024, 1536, 12 * 2 ** 20, 2 ** 31].map(bytes),
    ["0 B", "1023 B", "1 KiB", "1.5 KiB", "12 MiB", "2 GiB"]);
});
