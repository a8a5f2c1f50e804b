// Makes what is in built/ from what is in src/; with --check, says whether it is there already.
// The versions of everything are pinned by package-lock.json, so the same sources give the same bytes.

import { mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const built = join(here, "built");

async function script() {
  const { outputFiles, metafile } = await build({
    ...common, entryPoints: ["src/main.js"], bundle: true, format: "esm", metafile: true, outdir: "built",
  });
  return [outputFiles[0].text, metafile];
}

async function style() {
  // Bundled, or lists of selectors and colours would not be checked.
  const { outputFiles } = await build({ ...common, entryPoints: ["src/style.css"], bundle: true, outdir: "built" });
  return outputFiles[0].text;
}

const common = {
  absWorkingDir: here, write: false, minify: true, legalComments: "none", logLevel: "warning",
  target: ["chrome123", "firefox120", "safari17.5"],
};

/// The licence texts of every package that is in the bundle.
async function licences({ inputs }) {
  const names = new Set();
  for (const path of Object.keys(inputs)) {
    const [, name] = /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path) ?? [];
    if (name) names.add(name);
  }
  const notes = await Promise.all([...names].sort().map(licence));
  return `The page is made with these packages, which are under these licences.\n\n${notes.join("\n")}`;
}

async function licence(name) {
  const dir = join(here, "node_modules", name);
  const { version, license } = JSON.parse(await readFile(join(dir, "package.json"), "utf8"));
  const file = (await readdir(dir)).find((entry) => /^licen[cs]e/i.test(entry));
  const text = file ? await readFile(join(dir, file), "utf8") : "";
  if (!text) throw new Error(`${name} has no licence text`);
  return `== ${name} ${version} (${license})\n\n${text.trim()}\n`;
}

async function files() {
  const [code, metafile] = await script();
  const copied = (name) => readFile(join(here, "src", name), "utf8");
  return {
    "index.html": await copied("index.html"),
    "icon.svg": await copied("icon.svg"),
    "page.css": await style(),
    "page.js": code,
    "licences.txt": await licences(metafile),
  };
}

const made = await files();
if (process.argv.includes("--check")) {
  const differs = [];
  for (const [name, text] of Object.entries(made)) {
    const there = await readFile(join(built, name), "utf8").catch(() => null);
    if (there !== text) differs.push(name);
  }
  if (differs.length) {
    console.error(`built/ is not what the sources give: ${differs.join(", ")}; npm run build makes it`);
    process.exit(1);
  }
} else {
  await mkdir(built, { recursive: true });
  for (const [name, text] of Object.entries(made)) await writeFile(join(built, name), text);
}
