// Addresses: how a URL is read, and which of them are this server's

const base = `${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}`;
const MAX_LINK = 2 ** 13;

// Returns a URL of what somebody typed: a path of this server, a host with or without a scheme, or a whole URL.
function readURL(text) {
  const url = tryURL(looksLikeHost(text) ? `${base.split("/")[0]}//${text}` : text.replace(/^http(?=s?:)/i, "ws"));
  if (!url) throw new Problem("this is not a URL");
  if (!["ws:", "wss:"].includes(url.protocol)) throw new Problem("a WebSocket URL begins with ws:// or wss://");
  if (url.href.includes("#")) throw new Problem("a WebSocket URL has no part after a #");
  return url;
}

function tryURL(text) {
  try {
    return new URL(text, base);
  } catch {
    return null;
  }
}

// Such as localhost:8080/echo, example.org and [::1]/; what is neither is a path, as in a link of a page.
function looksLikeHost(text) {
  const [authority] = text.split(/[/?#\\]/, 1);
  return authority === "localhost" || /\.|:\d+$|\]$/.test(authority);
}

// Whether the page may ask the same server by HTTP.
const isOurs = (url) => `${url.protocol}//${url.host}` === base;

// A URL as it is shown and kept: without a password.
function withoutPassword(url) {
  const safe = new URL(url);
  safe.password = "";
  return safe.href;
}

function readSubprotocols(text) {
  const names = text.split(",").map((name) => name.trim()).filter(Boolean);
  for (const [index, name] of names.entries()) {
    if (!/^[\w!#$%&'*+.^`|~-]+$/.test(name)) {
      throw new Problem(`“${name}” can’t be a subprotocol: a character of it is not allowed`);
    }
    if (names.indexOf(name) !== index) throw new Problem(`the subprotocol “${name}” is there twice`);
  }
  return names;
}

// Subprotocols with a token among them, as wsock's bearerAuth takes it: bearer.<the token in base64url>. The server
// never chooses that one; "bearer" is there since a browser gives up where none is chosen.
function withToken(names, token) {
  if (!token) return names;
  const encoded = btoa(String.fromCharCode(...new TextEncoder().encode(token)));
  const offer = `bearer.${encoded.replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "")}`;
  return [...new Set([...names, "bearer", offer])];
}

// The URL that a link to this page names: /#ws://host/path, percent-encoded or not; null where there is none.
function linkedURL() {
  let text = location.hash.slice(1);
  if (text.length > MAX_LINK) return null;
  try {
    if (!/^wss?:\/\//i.test(text)) text = decodeURIComponent(text);
  } catch {
    return null;
  }
  const url = /^wss?:\/\//i.test(text) ? tryURL(text) : null;
  return url && !url.hash ? url.href : null;
}

// A link to this page, with a URL in it.
function linkTo(url) {
  return location.origin + location.pathname + "#" + withoutPassword(url);
}

// Fills in the URL of a link, and does no more: anybody may have made the link, and a connection is in the user's name.
function followLink() {
  const url = linkedURL();
  if (!url) return false;
  at("url").value = url;
  // It was meant for another server.
  at("token").value = "";
  add("link", `to ${withoutPassword(url)}: press Connect to go there`);
  at("toggle").focus();
  return true;
}

function forgetLink() {
  if (location.hash) history.replaceState(null, "", location.pathname + location.search);
}

async function copyLink() {
  try {
    const copied = await toClipboard(linkTo(readURL(at("url").value.trim())));
    at("link").textContent = copied ? "Copied" : "Could not be copied";
    setTimeout(() => {
      at("link").textContent = "Copy a link to this URL";
    }, 1500);
  } catch (error) {
    complain("make a link", error);
  }
}
