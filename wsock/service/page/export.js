// The export: what the log shows, as a file

function exportLines() {
  const lines = exported().map((entry) => `${JSON.stringify(asObject(entry))}\n`);
  download(lines, "application/jsonl", "jsonl");
}

function exportText() {
  download(exported().map(asText), "text/plain", "txt");
}

// Those that are held are there too, and those that the filter leaves out are not.
const exported = () => entries.filter(matches);

function asObject(entry) {
  const { time, data, text, name, size } = entry;
  const about = { time: time.toISOString(), kind: kindOf(entry) };
  if (data === undefined) return { ...about, text };
  if (typeof data === "string") return { ...about, size, message: data };
  return { ...about, size, ...(name && { name }), base64: base64(data) };
}

function base64(buffer) {
  const bytes = new Uint8Array(buffer);
  const parts = [];
  for (let offset = 0; offset < bytes.length; offset += 2 ** 15) {
    parts.push(String.fromCharCode(...bytes.subarray(offset, offset + 2 ** 15)));
  }
  return btoa(parts.join(""));
}

function asText(entry) {
  const { time, data, text, name, size } = entry;
  const head = `${time.toISOString()} ${kindOf(entry)}`;
  if (data === undefined) return `${head} ${text}\n`;
  const about = [plural(size, "byte"), typeof data === "string" ? "" : "binary", name].filter(Boolean).join(", ");
  return `${head} ${about}\n${typeof data === "string" ? data : spacedHex(new Uint8Array(data))}\n`;
}

function download(parts, type, ending) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(parts, { type: `${type};charset=utf-8` }));
  link.download = `wsock-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.${ending}`;
  link.click();
  // The browser has begun to read it by then.
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}
