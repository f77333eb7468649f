// What the keys and buttons do

function onClick(id, action) {
  at(id).addEventListener("click", action);
}

at("connection").addEventListener("submit", (event) => {
  event.preventDefault();
  toggle();
});
at("connection").addEventListener("keydown", (event) => {
  const isField = event.target === at("url") || (event.target.tagName === "INPUT" && /^(text|password)$/.test(event.target.type));
  if (event.key !== "Enter" || event.isComposing || !isField) return;
  event.preventDefault();
  const ends = event.target === at("code") || event.target === at("reason");
  if (!ends) connect();
  else if (state === "connected") disconnect();
});
at("url").addEventListener("input", () => {
  // It wraps, but has one line.
  if (/[\r\n]/.test(at("url").value)) at("url").value = at("url").value.replace(/[\r\n]+/g, "");
});
at("here").addEventListener("click", (event) => {
  if (!event.target.matches("button")) return;
  at("url").value = event.target.textContent;
  connect();
});
at("reconnect").addEventListener("change", () => {
  if (!at("reconnect").checked && state === "waiting") stopWaiting();
  saveSoon();
});
onClick("link", copyLink);

onClick("more", () => {
  const shown = at("tools").classList.toggle("shown");
  at("more").ariaExpanded = String(shown);
});
onClick("pause", pause);
onClick("clear", clear);
at("filter").addEventListener("input", changeFilter);
at("direction").addEventListener("change", changeFilter);
at("pretty").addEventListener("change", () => {
  refill();
  saveSoon();
});
onClick("export-lines", exportLines);
onClick("export-text", exportText);
onClick("latest", () => {
  scrollToEnd();
  at("log").focus({ preventScroll: true });
});
at("log").addEventListener("scroll", scrolled);
new ResizeObserver(() => following && scrollToEnd()).observe(at("log"));
at("entries").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) press(button);
});
at("entries").addEventListener("focusin", (event) => moveTabStop(event.target));
at("entries").addEventListener("keydown", (event) => {
  const buttons = entryButtons();
  const index = buttons.indexOf(event.target);
  const moves = { ArrowUp: index - 1, ArrowDown: index + 1, Home: 0, End: buttons.length - 1 };
  if (!(event.key in moves)) return;
  event.preventDefault();
  buttons[moves[event.key]]?.focus();
});

at("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
at("message").addEventListener("keydown", (event) => {
  // 229: Safari's Enter that ends a composition.
  if (event.isComposing || event.keyCode === 229 || event.shiftKey) return;
  const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  if (event.key === "Enter") {
    event.preventDefault();
    send();
  } else if (step && !event.ctrlKey && !event.altKey && !event.metaKey && recall(step)) event.preventDefault();
});
onClick("attach", () => at("files").click());
at("files").addEventListener("change", () => {
  sendFiles([...at("files").files]);
  // So that the same file can be chosen again.
  at("files").value = "";
});
for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
  addEventListener(name, (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    document.body.classList.toggle("dropping", name === "dragenter" || name === "dragover");
    if (name === "drop") sendFiles([...event.dataTransfer.files]);
  });
}
addEventListener("hashchange", followLink);
addEventListener("pagehide", save);

// How the page begins

const paths = [...at("here").querySelectorAll("button")].map((button) => button.textContent);
at("here").hidden = paths.length < 2;
restore();
at("url").value = lastURL || base + (paths[0] ?? "/");
showCounts();
if (!followLink()) {
  at("message").focus();
  // By itself the page connects to its own server alone, and never to what a link names.
  const url = tryURL(at("url").value);
  if ((lastURL || paths.length) && url && isOurs(url)) connect();
}
