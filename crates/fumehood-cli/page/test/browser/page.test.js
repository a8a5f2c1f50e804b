import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { TOKEN, stage } from "./stage.js";

let theatre;
before(async () => { theatre = await stage(); });
after(() => theatre?.strike());

const ENDLESS = "import time\nprint('first', flush=True)\nwhile True: time.sleep(0.05)\n";
const BOTH = "import sys\nprint('to stdout', flush=True)\nprint('to stderr', file=sys.stderr)\nsys.exit(3)\n";

/// A page on which a Python program stands.
async function python(source, options) {
  const visit = await theatre.visit(options);
  await visit.choose("python");
  await visit.write(source);
  return visit;
}

test("a program that is typed and run by mouse shows what it prints and how it ends", async () => {
  const visit = await python("");
  await visit.page.keyboard.type("print(6 * 7)");
  await visit.page.click("#run");
  assert.match(await visit.outcome(), /^Finished after [0-9.]+ m?s$/);
  assert.equal(await visit.stream("stdout"), "42\n");
  assert.equal(await visit.page.locator("#stop").isEnabled(), false);
  await visit.leave();
});

test("output is there before the program ends, and stop ends it", async () => {
  const visit = await python(ENDLESS);
  const argument = `the-one-of-${process.pid}`;
  await visit.page.click("#feed summary");
  await visit.page.fill("#arguments", argument);
  await visit.page.click("#run");
  await visit.page.locator("#output .stdout", { hasText: "first" }).waitFor();
  assert.notDeepEqual(await processesWith(argument), []);
  assert.equal(await visit.page.getAttribute("#outcome", "data-tone"), "busy");
  assert.equal(await visit.page.locator("#run").isEnabled(), false);
  await visit.page.click("#stop");
  assert.match(await visit.outcome(), /^Stopped by you after /);
  assert.equal(await visit.page.locator("#usage .gauge").count(), 4, "what it used until then");
  assert.equal(await visit.stream("stdout"), "first\n");
  assert.equal(await visit.page.locator("#run").isEnabled(), true);
  await nobodyHas(argument);
  await visit.leave();
});

/// Waits until no process has this argument.
async function nobodyHas(argument) {
  for (let tries = 0; tries < 600; tries++) {
    if ((await processesWith(argument)).length === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.fail("a program that was stopped still runs");
}

async function processesWith(argument) {
  const numbers = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const lines = numbers.map((number) => readFile(`/proc/${number}/cmdline`, "utf8").catch(() => ""));
  return (await Promise.all(lines)).filter((line) => line.includes(argument));
}

test("the two streams are told apart by colour and background, and each can be hidden", async () => {
  const visit = await python(BOTH);
  await visit.page.click("#run");
  assert.match(await visit.outcome(), /^Ended with exit status 3 after /);
  assert.equal(await visit.stream("stdout"), "to stdout\n");
  assert.equal(await visit.stream("stderr"), "to stderr\n");
  const look = (name) => visit.page.locator(`#output .${name}`).evaluate((span) => {
    const { color, backgroundColor } = getComputedStyle(span);
    return { color, backgroundColor };
  });
  const [stdout, stderr] = [await look("stdout"), await look("stderr")];
  assert.notEqual(stdout.color, stderr.color);
  assert.notEqual(stdout.backgroundColor, stderr.backgroundColor);
  await visit.page.click(".chip.stderr");
  assert.equal(await visit.page.locator("#output .stderr").isVisible(), false);
  assert.equal(await visit.page.locator("#output .stdout").isVisible(), true);
  await visit.leave();
});

test("a report shows what was used, of how much, and what held by which mechanism", async () => {
  const visit = await python("print(1)");
  await visit.page.click("#run");
  await visit.outcome();
  const gauges = await visit.page.locator(".gauge").allTextContents();
  assert.deepEqual(gauges.map((text) => text.match(/^[A-Z][A-Za-z ]*?(?=\d|not)/)?.[0]), ["Time", "CPU time", "Memory", "Processes"]);
  assert.match(gauges[0], /of 10 s$/);
  assert.match(gauges[2], /of 512 MiB$/);
  const [, held, all] = /^(\d+) of (\d+) guarantees held/.exec(await visit.page.textContent("#guarantees summary"));
  assert.equal(await visit.page.locator("#guarantees li").count(), Number(all));
  assert.equal(await visit.page.locator("#guarantees li.held").count(), Number(held));
  assert.ok(Number(held) >= 12, `${held} held`);
  await visit.page.click("#guarantees summary");
  await visit.page.getByText("Has no network").waitFor();
  assert.match(await visit.page.textContent("#guarantees"), /network namespace/);
  assert.match(await visit.page.textContent("#guarantees li.missing"), /kernel of its own/);
  await visit.leave();
});

test("input and arguments reach the program", async () => {
  const visit = await python("import sys\nprint(sys.argv[1:], sys.stdin.read())");
  await visit.page.click("#feed summary");
  await visit.page.fill("#arguments", "one 'two words'");
  await visit.page.fill("#stdin", "some input");
  await visit.page.click("#run");
  await visit.outcome();
  assert.equal(await visit.stream("stdout"), "['one', 'two words'] some input\n");
  await visit.page.fill("#arguments", "'open");
  await visit.page.click("#run");
  assert.match(await visit.page.textContent("#arguments-error"), /not closed/);
  assert.equal(await visit.page.evaluate(() => document.activeElement.id), "arguments");
  await visit.leave();
});

test("a link carries the program, its input and its arguments, and runs nothing", async () => {
  const source = "import sys\nprint('grüße 😀', sys.argv[1], input())\n";
  const visit = await python(source);
  await visit.page.click("#feed summary");
  await visit.page.fill("#arguments", "eins");
  await visit.page.fill("#stdin", "zwei");
  await visit.page.click("#share");
  await visit.page.getByRole("button", { name: /^Link / }).waitFor();
  const { hash } = new URL(visit.page.url());
  assert.match(hash, /^#1\.[A-Za-z0-9_-]+$/);
  await visit.leave();

  const other = await theatre.visit({}, hash);
  await other.page.locator("#run:enabled").waitFor();
  assert.equal(await other.text(), source);
  assert.equal(await other.page.inputValue("#language"), "python");
  assert.match(await other.page.textContent("#notice"), /Nothing of it has run yet/);
  assert.equal(await other.page.getAttribute("#outcome", "data-tone"), "idle");
  await other.page.click("#run");
  await other.outcome();
  assert.equal(await other.stream("stdout"), "grüße 😀 eins zwei\n");
  await other.leave();
});

test("what is written after a link was made or opened survives a reload", async () => {
  const visit = await python("print('shared')");
  await visit.page.click("#share");
  await visit.page.getByRole("button", { name: /^Link / }).waitFor();
  const { hash } = new URL(visit.page.url());
  await visit.write("print('written since')");
  await visit.page.reload();
  await visit.page.locator("#run:enabled").waitFor();
  assert.equal(await visit.text(), "print('written since')");
  await visit.leave();

  const other = await theatre.visit({}, hash);
  await other.page.locator("#run:enabled").waitFor();
  assert.equal(new URL(other.page.url()).hash, hash, "it stays for as long as nothing was written");
  await other.write("print('changed')");
  await other.page.reload();
  await other.page.locator("#run:enabled").waitFor();
  assert.equal(await other.text(), "print('changed')");
  await other.leave();
});

test("a broken link is told of, and the page works", async () => {
  const visit = await theatre.visit({}, "#1.AAAA");
  await visit.page.getByText("cannot be read").waitFor();
  await visit.page.locator("#run:enabled").waitFor();
  await visit.leave();
});

test("a link in a language that nobody knows leaves a page that works", async () => {
  const visit = await theatre.visit();
  const fragment = await visit.page.evaluate(async () => {
    const packed = new Blob(['["cobol", "STOP RUN.", "", ""]']).stream().pipeThrough(new CompressionStream("deflate-raw"));
    const bytes = new Uint8Array(await new Response(packed).arrayBuffer());
    return `#1.${btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}`;
  });
  await visit.leave();
  const other = await theatre.visit({ settled: true }, fragment);
  await other.page.locator("#run:enabled").waitFor();
  assert.match(await other.page.textContent("#notice"), /does not know/);
  assert.match(await other.text(), /Hello from/);
  await other.leave();
});

test("languages are asked for again when the service was away", async () => {
  const visit = await theatre.visit({ unanswered: 2 });
  await visit.page.getByText("It is asked again").waitFor();
  await visit.page.locator("#run:enabled").waitFor();
  assert.equal(await visit.page.locator("#notice").isVisible(), false);
  await visit.leave();
});

test("a program survives a reload and a change of language", async () => {
  const visit = await python("print('mine')");
  await visit.choose("bash");
  assert.match(await visit.text(), /Hello from Bash/);
  await visit.choose("python");
  assert.equal(await visit.text(), "print('mine')");
  await visit.page.reload();
  await visit.page.locator("#run:enabled").waitFor();
  assert.equal(await visit.page.inputValue("#language"), "python");
  assert.equal(await visit.text(), "print('mine')");
  await visit.leave();
});

test("everything can be done by keyboard", async () => {
  const visit = await theatre.visit();
  await visit.page.locator("#run:enabled").waitFor();
  const focused = () => visit.page.evaluate(() => {
    const { activeElement: active } = document;
    return active.id || active.className || active.tagName;
  });
  const order = [];
  for (let stop = 0; stop < 6; stop++) {
    await visit.page.keyboard.press("Tab");
    order.push(await focused());
  }
  assert.deepEqual(order, ["skip", "language", "run", "share", "theme", "editor"]);
  await visit.choose("python");
  await visit.page.focus("#theme");
  await visit.page.keyboard.press("Tab");
  await visit.page.keyboard.press("Control+a");
  await visit.page.keyboard.press("Delete");
  await visit.page.keyboard.insertText(ENDLESS);
  await visit.page.keyboard.press("Control+Enter");
  await visit.page.locator("#output .stdout", { hasText: "first" }).waitFor();
  await visit.page.keyboard.press("Escape");
  assert.match(await visit.outcome(), /^Stopped by you/);
  assert.equal(await focused(), "editor", "running and stopping do not move the focus");
  await visit.page.keyboard.type("#");
  await visit.page.keyboard.press("Tab");
  assert.equal(await focused(), "editor", "a tab in the editor is an indentation");
  await visit.page.keyboard.press("Escape");
  await visit.page.keyboard.press("Tab");
  assert.notEqual(await focused(), "editor", "after Escape it leaves");
  assert.equal(await visit.page.getAttribute("#outcome", "role"), "status");
  await visit.leave();
});

test("dark and light follow the system, and a choice stays", async () => {
  const background = (visit) => visit.page.evaluate(() => {
    const [, red, green, blue] = /(\d+), (\d+), (\d+)/.exec(getComputedStyle(document.body).backgroundColor);
    return (Number(red) + Number(green) + Number(blue)) / 3;
  });
  const light = await theatre.visit({ colorScheme: "light" });
  assert.ok(await background(light) > 200);
  await light.leave();
  const dark = await theatre.visit({ colorScheme: "dark" });
  assert.ok(await background(dark) < 60);
  await dark.page.click("#theme");
  assert.ok(await background(dark) > 200, "chosen: light");
  await dark.page.reload();
  assert.ok(await background(dark) > 200, "after a reload as well");
  await dark.leave();
});

test("on a phone nothing sticks out, and a run brings its result into sight", async () => {
  const phone = { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };
  const visit = await python("print('x' * 500)", phone);
  await visit.page.tap("#run");
  await visit.outcome();
  const { inner, content } = await visit.page.evaluate(() => ({
    inner: innerWidth, content: document.scrollingElement.scrollWidth,
  }));
  assert.ok(content <= inner, `${content} px of content on ${inner} px`);
  const box = await visit.page.locator("#outcome").boundingBox();
  assert.ok(box.y > 0 && box.y < 740 - box.height, `the outcome is at ${box.y} px`);
  const button = await visit.page.locator("#run").boundingBox();
  assert.ok(button.height >= 40, "large enough for a finger");
  await visit.leave();
});

test("beside a long result the page itself does not scroll", async () => {
  const visit = await python("print(1)", { viewport: { width: 1280, height: 600 } });
  await visit.page.click("#run");
  await visit.outcome();
  await visit.page.click("#guarantees summary");
  const beyond = await visit.page.evaluate(() => document.scrollingElement.scrollHeight - innerHeight);
  assert.equal(beyond, 0, "pixels below what is in sight");
  await visit.leave();
});

test("what the service refuses is told, and nothing is said of its output", async () => {
  const visit = await python("print(1)");
  await visit.page.click("#feed summary");
  await visit.page.evaluate(() => { document.getElementById("arguments").value = "a\0b"; });
  await visit.page.click("#run");
  assert.match(await visit.outcome(), /NUL/);
  assert.equal(await visit.page.textContent("#output"), "");
  assert.equal(await visit.page.getAttribute("#notice", "role"), "status");
  await visit.leave();
});

test("a flood of output is shown in part, and the page stays alive", async () => {
  const visit = await python("while True: print('flood ' * 20)");
  await visit.page.click("#run");
  assert.match(await visit.outcome(), /^Stopped: more stdout than 1 MiB/);
  assert.match(await visit.page.textContent("#output em"), /rest is not shown/);
  await visit.write("print('again')");
  await visit.page.click("#run");
  await visit.page.locator("#output .stdout", { hasText: "again" }).waitFor();
  await visit.leave();
});

test("long output is laid out in parts, which nobody sees", async () => {
  const visit = await python("import sys\nfor i in range(9000): print(i, file=[sys.stdout, sys.stderr][i % 2], flush=True)");
  await visit.page.click("#run");
  assert.match(await visit.outcome(), /^Finished/);
  const parts = await visit.page.locator("#output > div").allTextContents();
  assert.ok(parts.length >= 5, `${parts.length} parts`);
  for (const part of parts) assert.ok(part.endsWith("\n") && part.length < 9000, `${part.length} characters`);
  const [copied, lines] = await visit.page.locator("#output").evaluate((output) => {
    getSelection().selectAllChildren(output);
    const { lineHeight, paddingTop, paddingBottom } = getComputedStyle(output);
    const high = output.scrollHeight - parseFloat(paddingTop) - parseFloat(paddingBottom);
    return [getSelection().toString(), Math.round(high / parseFloat(lineHeight))];
  });
  assert.equal(copied.trimEnd(), parts.join("").trimEnd());
  assert.ok(lines <= 9000, `${lines} lines: no part begins a line of its own`);
  await visit.leave();
});

test("bytes that are no text do no harm, and markup stays text", async () => {
  const visit = await python("import os\nos.write(1, b'<img src=x onerror=alert(1)>\\xff\\xc3')\nos.write(1, b'\\xa4\\n')");
  await visit.page.click("#run");
  await visit.outcome();
  assert.match(await visit.stream("stdout"), /^<img src=x onerror=alert\(1\)>\ufffdä\n$/);
  await visit.leave();
});

test("nothing runs, is shown or is asked for that is not of the page", async () => {
  const visit = await theatre.visit();
  const { marks, directives } = await visit.page.evaluate(async () => {
    const directives = [];
    document.addEventListener("securitypolicyviolation", (event) => directives.push(event.effectiveDirective));
    const add = (tag, fields) => document.body.append(Object.assign(document.createElement(tag), fields));
    try {
      add("script", { textContent: "globalThis.ran = true" });
    } catch {
      // As trusted types have it.
    }
    document.body.setAttribute("style", "border: 9px solid");
    add("img", { src: "http://127.0.0.2:9/" });
    add("iframe", { src: "/" });
    const fetched = await fetch("http://127.0.0.2:9/").then(() => true, () => false);
    const expected = ["style-src-attr", "img-src", "frame-src", "connect-src"];
    // The browser tells of them when it comes to that.
    for (let tries = 0; tries < 300 && !expected.every((one) => directives.includes(one)); tries++) {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    return { marks: [globalThis.ran ?? false, getComputedStyle(document.body).borderWidth, fetched], directives };
  });
  assert.deepEqual(marks, [false, "0px", false]);
  for (const one of ["style-src-attr", "img-src", "frame-src", "connect-src"]) assert.ok(directives.includes(one), `${directives}`);
  await visit.page.context().close();
});

for (const colorScheme of ["light", "dark"]) {
  test(`no rule of accessibility is broken in ${colorScheme} colours`, async () => {
    const visit = await python(BOTH, { colorScheme });
    await visit.page.click("#run");
    await visit.outcome();
    await visit.page.click("#guarantees summary");
    await visit.page.click("#feed summary");
    const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
    await visit.page.evaluate(axe);
    const { violations, passes } = await visit.page.evaluate(() => globalThis.axe.run());
    assert.ok(passes.some(({ id }) => id === "color-contrast"), "contrast was looked at");
    assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]), []);
    await visit.leave();
  });
}

test("a service with tokens asks for one and keeps it in the tab only", async (t) => {
  const guarded = await stage('[access]\ntokens = "DIR/tokens.toml"\n');
  t.after(() => guarded.strike());
  const visit = await guarded.visit();
  await visit.page.locator("#token[open]").waitFor();
  await visit.page.fill("#token-value", "a-wrong-token-here");
  await visit.page.keyboard.press("Enter");
  await visit.page.locator("#token[open]").waitFor();
  await visit.page.fill("#token-value", TOKEN);
  await visit.page.keyboard.press("Enter");
  await visit.choose("python");
  await visit.write("print('known')");
  await visit.page.click("#run");
  await visit.page.locator("#output .stdout", { hasText: "known" }).waitFor();
  assert.equal(await visit.page.evaluate((token) => JSON.stringify(localStorage).includes(token), TOKEN), false);
  await visit.leave();
});

test("a browser that stores nothing can do everything", async (t) => {
  const guarded = await stage('[access]\ntokens = "DIR/tokens.toml"\n');
  t.after(() => guarded.strike());
  const visit = await guarded.visit({ forgetful: true });
  await visit.page.locator("#token[open]").waitFor();
  await visit.page.fill("#token-value", TOKEN);
  await visit.page.keyboard.press("Enter");
  await visit.choose("python");
  await visit.write("print('known')");
  await visit.page.click("#run");
  await visit.page.locator("#output .stdout", { hasText: "known" }).waitFor();
  await visit.leave();
});

test("a profile of the operator's with a language's name is what its programs are based on", async (t) => {
  const generous = await stage('[profiles.python]\nenv.set.GIVEN = "by the operator"\nlimits.pids = 7\n');
  t.after(() => generous.strike());
  const visit = await generous.visit();
  await visit.choose("python");
  await visit.write("import os\nprint(os.environ['GIVEN'])");
  await visit.page.click("#run");
  await visit.page.locator("#output .stdout", { hasText: "by the operator" }).waitFor();
  assert.match(await visit.page.locator(".gauge").last().textContent(), /of 7$/);
  await visit.leave();
});

test("ceilings of the service are the limits of the page", async (t) => {
  const strict = await stage('[ceilings]\nwall_time = "1s"\n');
  t.after(() => strict.strike());
  const visit = await strict.visit();
  await visit.choose("python");
  await visit.write(ENDLESS);
  await visit.page.click("#run");
  assert.match(await visit.outcome(), /^Stopped at its time limit of 1 s$/);
  assert.match(await visit.page.textContent(".gauge"), /of 1 s$/);
  await visit.leave();
});
