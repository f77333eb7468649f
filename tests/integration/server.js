// A server of node's `ws`, with its own default options: node server.js FOLDER [KEY CERTIFICATE]
// It prints its port, and then how it saw each connection end: [target, code, reason]. What it does is in the target.
"use strict";
const fs = require("fs");
const [, , folder, key, certificate] = process.argv;
const { WebSocketServer } = require(folder);

const tasks = {
  "/echo"(socket) {
    socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
  },
  "/fragments"(socket) {
    socket.send("frag", { fin: false });
    socket.ping("between");
    socket.send("men", { fin: false });
    socket.send("", { fin: false });
    socket.send("ts", { fin: true });
    for (let part = 0; part < 16; part++) socket.send(Buffer.alloc(1 << 16, part), { fin: part === 15 });
  },
  "/ping"(socket) {
    socket.on("pong", (data) => socket.send(data));
    socket.ping("are you there?");
  },
  "/close"(socket, parameters) {
    socket.send("farewell");
    if (parameters.has("code")) socket.close(Number(parameters.get("code")), parameters.get("reason"));
    else socket.close();
  },
  "/drop"(socket) {
    // Not before it has arrived.
    socket.send("farewell");
    socket.on("message", () => socket.terminate());
  },
  "/large"(socket, parameters) {
    socket.send(Buffer.alloc(Number(parameters.get("size"))));
  },
};

const server = key
  ? require("https").createServer({ key: fs.readFileSync(key), cert: fs.readFileSync(certificate) })
  : require("http").createServer();
const sockets = new WebSocketServer({
  server,
  handleProtocols: (protocols) => protocols.has("other") && "other",
  verifyClient: ({ req }, decide) => {
    if (req.url === "/no") decide(false, 401, "who are you?\n", { "WWW-Authenticate": 'Basic realm="here"' });
    else decide(true);
  },
});
sockets.on("connection", (socket, request) => {
  const url = new URL(request.url, "ws://localhost");
  socket.on("error", () => {});
  socket.on("close", (code, reason) => console.log(JSON.stringify([request.url, code, reason.toString()])));
  tasks[url.pathname](socket, url.searchParams);
});
server.listen(0, "127.0.0.1", () => console.log(JSON.stringify(server.address().port)));
// It ends when whoever started it does.
process.stdin.on("end", () => process.exit()).resume();
