// Light, dark, or as the system has it.
const THEMES = ["automatic", "light", "dark"];

function setTheme(name) {
  if (name === "automatic") { delete document.documentElement.dataset.theme; } else { document.documentElement.dataset.theme = name; }
  byId("theme").textContent = "Theme: " + name;
  // A page opened from a file may not be allowed to remember anything.
  try { localStorage.setItem("fmri-lightning-theme", name); } catch (error) { /* then it is automatic next time */ }
}

byId("theme").addEventListener("click", function () {
  const now = document.documentElement.dataset.theme || "automatic";
  setTheme(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
});
try {
  const kept = localStorage.getItem("fmri-lightning-theme");
  if (THEMES.includes(kept) && kept !== "automatic") { setTheme(kept); }
} catch (error) { /* automatic */ }
