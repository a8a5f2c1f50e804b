// The editor. It lives in a shadow root because there its style sheets are constructed by script,
// which a content security policy without inline styles allows; in the document they would be
// <style> elements, which it refuses.

import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import {
  HighlightStyle, StreamLanguage, bracketMatching, indentOnInput, indentUnit, syntaxHighlighting,
} from "@codemirror/language";
import { c, cpp, java } from "@codemirror/legacy-modes/mode/clike";
import { go } from "@codemirror/legacy-modes/mode/go";
import { javascript } from "@codemirror/legacy-modes/mode/javascript";
import { python } from "@codemirror/legacy-modes/mode/python";
import { rust } from "@codemirror/legacy-modes/mode/rust";
import { shell } from "@codemirror/legacy-modes/mode/shell";
import { Compartment, EditorState, Prec } from "@codemirror/state";
import {
  EditorView, drawSelection, highlightActiveLine, highlightActiveLineGutter, highlightSpecialChars,
  keymap, lineNumbers,
} from "@codemirror/view";
import { tags } from "@lezer/highlight";

const MODES = { c, cpp, java, go, javascript, python, rust, bash: shell };

// All colours are variables of the page, so that light and dark are decided in one place.
const COLOURS = HighlightStyle.define([
  { tag: [tags.keyword, tags.modifier, tags.operatorKeyword], color: "var(--keyword)" },
  { tag: [tags.string, tags.special(tags.string), tags.character, tags.regexp], color: "var(--string)" },
  { tag: [tags.comment, tags.meta], color: "var(--comment)" },
  { tag: [tags.number, tags.bool, tags.atom, tags.null], color: "var(--number)" },
  { tag: [tags.typeName, tags.className, tags.namespace], color: "var(--type)" },
  { tag: [tags.definition(tags.variableName), tags.function(tags.variableName)], color: "var(--name)" },
  { tag: [tags.standard(tags.variableName), tags.standard(tags.name)], color: "var(--type)" },
]);

const LOOK = EditorView.theme({
  "&": { height: "100%", backgroundColor: "var(--paper)", color: "var(--ink)", fontSize: "var(--code-size)" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.55", overflow: "auto" },
  ".cm-content": { caretColor: "var(--accent)", padding: "10px 0" },
  ".cm-line": { padding: "0 14px 0 6px" },
  ".cm-gutters": { backgroundColor: "var(--paper)", color: "var(--faint)", border: "none" },
  ".cm-lineNumbers .cm-gutterElement": { padding: "0 8px 0 14px", minWidth: "2.6em" },
  ".cm-activeLine, .cm-activeLineGutter": { backgroundColor: "transparent" },
  "&.cm-focused .cm-activeLine, &.cm-focused .cm-activeLineGutter": { backgroundColor: "var(--line)" },
  "&.cm-focused .cm-activeLineGutter": { color: "var(--ink)" },
  ".cm-cursor": { borderLeftColor: "var(--accent)", borderLeftWidth: "2px" },
  ".cm-selectionBackground, &.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground":
    { backgroundColor: "var(--selection)" },
  "&.cm-focused .cm-matchingBracket": { backgroundColor: "var(--selection)", outline: "1px solid var(--edge)" },
});

/// An editor in `host`; `run` is called for Ctrl-Enter and Cmd-Enter, `changed` after every change.
export function createEditor(host, { run, changed }) {
  const mode = new Compartment();
  const root = host.attachShadow({ mode: "open" });
  const keys = Prec.highest(keymap.of([{ key: "Mod-Enter", run: () => (run(), true) }]));
  const state = EditorState.create({
    extensions: [
      keys, lineNumbers(), highlightSpecialChars(), history(), drawSelection(), indentOnInput(),
      bracketMatching(), highlightActiveLine(), highlightActiveLineGutter(),
      syntaxHighlighting(COLOURS), LOOK, mode.of([]), indentUnit.of("    "), EditorState.tabSize.of(4),
      keymap.of([...defaultKeymap, ...historyKeymap, indentWithTab]),
      EditorView.contentAttributes.of({ "aria-label": "Program", autocapitalize: "off" }),
      EditorView.updateListener.of((update) => update.docChanged && !replacing && changed()),
    ],
  });
  /// Whether it is us who change the text.
  let replacing = false;
  const view = new EditorView({ state, parent: root, root });
  return {
    text: () => view.state.doc.toString(),
    focus: () => view.focus(),
    setText(text) {
      replacing = true;
      view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text } });
      replacing = false;
    },
    setLanguage(name) {
      const known = MODES[name];
      const unit = name === "go" ? "\t" : "    ";
      const language = known ? [StreamLanguage.define(known), indentUnit.of(unit)] : [];
      view.dispatch({ effects: mode.reconfigure(language) });
    },
  };
}
