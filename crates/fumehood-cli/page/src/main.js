import { splitArguments } from "./arguments.js";
import { createEditor } from "./editor.js";
import { fromFragment, isLink, toFragment } from "./link.js";
import { createOutput } from "./output.js";
import { guaranteeRows, outcomeWords, usageRows } from "./report.js";
import { Refused, cancel, jobOf, languages, run, useToken } from "./service.js";
import { createDrafts } from "./drafts.js";
import { setUpTheme } from "./theme.js";
import { time } from "./units.js";

const $ = (id) => document.getElementById(id);
const chips = [...document.querySelectorAll(".chip")];
const output = createOutput($("output"), chips);
const drafts = createDrafts();
const editor = createEditor($("editor"), { run: start, changed: keep });

let known = [];
let language = null;
let running = null;
/// What a link carried, until the languages are known.
let carried = null;

// ---- Languages ----

async function learnLanguages() {
  let pause;
  while ((pause = await learnOnce())) await new Promise((resolve) => setTimeout(resolve, pause));
  if (!known.some(isAvailable)) notice("This host has none of the languages that this page knows.");
}

const UNANSWERED = "The service does not answer just now. It is asked again.";

/// Asks for the languages, and says in how many milliseconds to ask again: 0 if all is known.
async function learnOnce() {
  try {
    known = (await withToken(languages)).languages;
  } catch (error) {
    if (!mayPass(error)) throw error;
    notice(UNANSWERED);
    return 3000;
  }
  if ($("notice").textContent === UNANSWERED) notice("");
  offerLanguages();
  const looking = known.filter(({ state }) => state === "looking");
  if (!looking.length) return 0;
  // With a reason it was too slow, and is tried again later.
  return looking.every(({ reason }) => reason) ? 5000 : 700;
}

/// Whether it may be otherwise in a moment: the service is started anew, or busy.
const mayPass = (error) => error instanceof TypeError || error.status === 429 || error.status >= 500;

const isAvailable = ({ state }) => state === "available";
const named = (name) => known.find((one) => one.name === name);

function offerLanguages() {
  const options = known.map((one) => {
    const option = new Option(optionText(one), one.name);
    option.disabled = one.state === "unavailable";
    return option;
  });
  $("language").replaceChildren(...options);
  $("language").disabled = false;
  if (language) refreshLanguage();
  else if (carried) openCarried();
  else choose(drafts.language());
}

function optionText({ title, state, reason }) {
  if (state === "looking") return reason ? `${title} – too slow just now` : `${title} – looking…`;
  return state === "available" ? title : `${title} – not here`;
}

/// Chooses the language of that name unless the host lacks it; else the first that it has.
function choose(name) {
  const wanted = named(name);
  const chosen = wanted && wanted.state !== "unavailable" ? wanted : known.find(isAvailable);
  if (chosen) setLanguage(chosen, drafts.load(chosen));
  else $("language").selectedIndex = -1;
}

/// Shows the program of a link, even where the host lacks its language.
function openCarried() {
  const wanted = named(carried.language);
  if (wanted) setLanguage(wanted, carried);
  else notice("This link's program is in a language that this page does not know.");
  if (!language) choose(drafts.language());
  carried = null;
}

/// The same language, of which more is known by now.
function refreshLanguage() {
  language = named(language.name);
  $("language").value = language.name;
  $("version").textContent = $("version").title = language.version ?? "";
  if (language.state === "unavailable") notice(`${language.title} cannot be run here: ${language.reason}`);
  if (language.state === "looking" && language.reason) notice(`${language.title} is too slow just now: ${language.reason}`);
  updateButtons();
}

function setLanguage(chosen, program) {
  language = chosen;
  $("file").textContent = chosen.path.split("/").pop();
  editor.setLanguage(chosen.name);
  editor.setText(program.source);
  $("stdin").value = program.stdin;
  $("arguments").value = program.args;
  noteFeed();
  refreshLanguage();
}

// ---- The program ----

const program = () => ({
  language: language?.name ?? "",
  source: editor.text(),
  stdin: $("stdin").value,
  args: $("arguments").value,
});

function keep() {
  if (!language) return;
  drafts.save(program());
  leaveLink();
}

/// Takes the link out of the address when it is not what is shown any more: a reload would bring it
/// back in the place of what was written since.
function leaveLink() {
  if (isLink(location.hash)) history.replaceState(null, "", location.pathname + location.search);
}

/// Says beside the closed fold that there is something in it.
function noteFeed() {
  const filled = [["arguments", "arguments"], ["stdin", "input"]].filter(([id]) => $(id).value);
  $("feed-note").textContent = filled.length ? `with ${filled.map(([, word]) => word).join(" and ")}` : "";
}

function readArguments() {
  const error = $("arguments-error");
  try {
    error.hidden = true;
    return splitArguments($("arguments").value);
  } catch (wrong) {
    error.textContent = wrong.message;
    error.hidden = false;
    $("feed").open = true;
    $("arguments").focus();
    return null;
  }
}

// ---- A run ----

async function start() {
  if (running || !language || !isAvailable(language)) return;
  const args = readArguments();
  if (!args) return;
  running = { abort: new AbortController(), since: performance.now(), language };
  output.clear();
  $("usage").hidden = $("guarantees").hidden = true;
  say("busy", "Running");
  // On a phone the result is below what is in sight.
  if (matchMedia("(max-width: 820px)").matches) document.querySelector(".result").scrollIntoView();
  updateButtons();
  const clock = setInterval(tick, 100);
  try {
    await follow({ ...program(), args });
  } catch (error) {
    output.finish(false, Boolean(running.id));
    say("bad", failure(error));
  }
  clearInterval(clock);
  running = null;
  updateButtons();
}

async function follow(program) {
  const { abort: { signal }, language } = running;
  let report = null;
  await withToken(async () => {
    for await (const event of run(language, program, signal)) {
      if (event.event === "start") running.id = event.id;
      else if (event.event === "stdout" || event.event === "stderr") output.add(event.event, event.data);
      else if (event.event === "error") throw new Refused(event.problem.status, event.problem);
      else if (event.event === "end") report = event.report;
    }
  });
  if (!report) throw new Error("The service broke off before the run had ended");
  show(report);
}

/// A live region announces every change of its text, so the clock is no part of it.
function tick() {
  $("outcome").dataset.clock = time(Math.round((performance.now() - running.since) / 100) * 1e5);
}

function failure(error) {
  if (error.name === "AbortError") return `Stopped by you after ${time((performance.now() - running.since) * 1e3)}`;
  if (error.status === 429 || error.status === 503) {
    return `The service is busy. Try again${error.retryAfter ? ` in ${error.retryAfter} s` : " later"}`;
  }
  if (error instanceof TypeError) return "The service cannot be reached";
  return error.message;
}

/// How long a program may take to end, and the service to say so. After that the connection is closed,
/// which kills it.
const STOPPING = 2000;

/// Asks for the end of the program, so that its report still comes. Whoever asks twice is in a hurry.
function stop() {
  if (!running) return;
  const { abort, id, stopped } = running;
  running.stopped = true;
  if (!id || stopped) return abort.abort();
  cancel(id).catch(() => abort.abort());
  setTimeout(() => abort.abort(), STOPPING);
}

function updateButtons() {
  const focused = document.activeElement;
  $("run").disabled = Boolean(running) || !language || !isAvailable(language);
  $("stop").disabled = !running;
  // A button that is disabled loses the focus to nowhere.
  if (focused === $("run") && running) $("stop").focus();
  if (focused === $("stop") && !running) $("run").focus();
}

// ---- What is shown of it ----

function say(tone, words) {
  const outcome = $("outcome");
  delete outcome.dataset.clock;
  outcome.dataset.tone = tone;
  outcome.textContent = words;
}

function show(report) {
  output.finish(report.stdout.truncated || report.stderr.truncated);
  const { tone, words } = outcomeWords(report, running.language, running.stopped);
  say(tone, words);
  $("usage").replaceChildren(...usageRows(report, running.language.limits).map(gauge));
  showGuarantees(guaranteeRows(report), report.confinement.backend);
  $("usage").hidden = $("guarantees").hidden = false;
}

function gauge({ name, share, words, of, source }) {
  const box = element("div", "gauge");
  const figure = element("span");
  figure.append(element("b", "", words), " ", element("i", "", of));
  const track = element("div", share === 0 ? "track none" : share >= 1 ? "track full" : "track");
  const fill = element("div");
  fill.style.width = `${share * 100}%`;
  track.append(fill);
  track.setAttribute("role", "meter");
  track.setAttribute("aria-label", name);
  track.setAttribute("aria-valuenow", Math.round(share * 100));
  track.setAttribute("aria-valuetext", `${words} ${of}`);
  box.title = source && `Measured by: ${source}`;
  box.append(element("i", "", name), figure, track);
  return box;
}

function showGuarantees(rows, backend) {
  const held = rows.filter((row) => row.held).length;
  $("guarantees").querySelector("summary").textContent =
    `${held} of ${rows.length} guarantees held (backend: ${backend})`;
  const items = rows.map(({ key, words, held, because }) => {
    const item = element("li", held ? "held" : "missing");
    const text = element("div");
    text.append(words, element("span", "unseen", held ? ": held by " : ": not held, "), element("small", "", because));
    text.title = key;
    item.append(text);
    return item;
  });
  $("guarantees").querySelector("ul").replaceChildren(...items);
}

function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

// ---- Links ----

async function share() {
  try {
    history.replaceState(null, "", await toFragment(program()));
  } catch (error) {
    return notice(error.message);
  }
  const copied = await navigator.clipboard?.writeText(location.href).then(() => true, () => false);
  const button = $("share");
  button.textContent = copied ? "Link copied" : "Link is in the address bar";
  setTimeout(() => { button.textContent = "Copy link"; }, 2500);
}

async function openLink() {
  try {
    carried = await fromFragment(location.hash);
    if (carried) notice("This program came with a link. Nothing of it has run yet.");
  } catch (error) {
    notice(error.message);
  }
  if (carried && known.length) openCarried();
}

// ---- Tokens ----

/// Does it, and once more with a token if the service wants one.
async function withToken(action) {
  try {
    return await action();
  } catch (error) {
    if (error.status !== 401 || !(await askForToken())) throw error;
    return withToken(action);
  }
}

function askForToken() {
  const dialog = $("token");
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const given = dialog.returnValue === "ok" && $("token-value").value;
      if (given) useToken(given);
      $("token-value").value = "";
      resolve(Boolean(given));
    }, { once: true });
  });
}

// ---- All together ----

$("run").addEventListener("click", start);
$("stop").addEventListener("click", stop);
$("share").addEventListener("click", share);
$("language").addEventListener("change", ({ target }) => {
  notice("");
  leaveLink();
  const chosen = named(target.value);
  setLanguage(chosen, drafts.load(chosen));
});
for (const id of ["stdin", "arguments"]) $(id).addEventListener("input", () => (noteFeed(), keep()));
addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.defaultPrevented) start();
  if (event.key === "Escape" && running && !$("token").open) stop();
});
addEventListener("hashchange", openLink);
setUpTheme($("theme"));
await openLink();
learnLanguages().catch((error) => notice(failure(error)));
