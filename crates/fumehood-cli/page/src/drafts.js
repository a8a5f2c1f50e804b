// What was written last in every language, so that a reload or a change of language loses nothing.

const KEY = "fumehood-draft-";

export function createDrafts() {
  return {
    language: () => read("language")?.name,
    /// The draft in this language, or the language's own greeting.
    load({ name, hello }) {
      return read(name) ?? { language: name, source: hello, stdin: "", args: "" };
    },
    save(program) {
      write(program.language, program);
      write("language", { name: program.language });
    },
  };
}

// Storage can be forbidden or full; the page works without.
function read(name) {
  try {
    return JSON.parse(localStorage.getItem(KEY + name));
  } catch {
    return null;
  }
}

function write(name, value) {
  try {
    localStorage.setItem(KEY + name, JSON.stringify(value));
  } catch {
    // Then it lives as long as the tab.
  }
}
