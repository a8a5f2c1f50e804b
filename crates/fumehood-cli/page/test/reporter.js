// Tells of tests as libtest does, which is what the project's own tools read.

export default async function* report(events) {
  const counts = { passed: 0, failed: 0, ignored: 0 };
  const failures = [];
  for await (const { type, data } of events) {
    if (type === "test:pass" && (data.skip !== undefined)) {
      counts.ignored++;
      yield `test ${data.name} ... ignored, ${data.skip || "no reason given"}\n`;
    } else if (type === "test:pass") {
      counts.passed++;
      yield `test ${data.name} ... ok\n`;
    } else if (type === "test:fail") {
      counts.failed++;
      failures.push([data.name, data.details.error]);
      yield `test ${data.name} ... FAILED\n`;
    } else if (type === "test:stdout" || type === "test:stderr") {
      yield data.message;
    }
  }
  for (const [name, error] of failures) yield `\n---- ${name} ----\n${error.cause?.stack ?? error.stack ?? error}\n`;
  const { passed, failed, ignored } = counts;
  yield `\ntest result: ${failed ? "FAILED" : "ok"}. ${passed} passed; ${failed} failed; ${ignored} ignored\n`;
}
