const KEY = "fumehood-theme";
const NAMES = { system: "as the system has them", light: "light", dark: "dark" };

/// Makes `button` go through the system's colours, light, and dark.
export function setUpTheme(button) {
  let theme = stored();
  apply();
  button.addEventListener("click", () => {
    const names = Object.keys(NAMES);
    theme = names[(names.indexOf(theme) + 1) % names.length];
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      // Then it lives as long as the tab.
    }
    apply();
  });

  function apply() {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.title = `Colours: ${NAMES[theme]}`;
    button.querySelector("span").textContent = button.title;
  }
}

function stored() {
  try {
    const theme = localStorage.getItem(KEY);
    return theme in NAMES ? theme : "system";
  } catch {
    return "system";
  }
}
