const fs = require("fs"), cp = require("child_process"), http = require("http"), os = require("os");
const { Worker, isMainThread, parentPort } = require("worker_threads");
if (!isMainThread) parentPort.postMessage(6 * 7);
else {
    new Worker(__filename).on("message", m => console.log("worker", m));
    fs.writeFileSync("watched", "1");
    const watch = fs.watch("watched", event => { console.log("watch", event); watch.close(); });
    fs.appendFileSync("watched", "2");
    console.log(cp.execFileSync("echo", ["child"]).toString().trim());
    const server = http.createServer((q, r) => r.end("page " + q.url)).listen(0, "127.0.0.1", () =>
        http.get({ port: server.address().port, host: "127.0.0.1", path: "/x" }, r => {
            r.on("data", d => console.log(String(d))); r.on("end", () => server.close()); }));
    console.log(Object.keys(os.networkInterfaces()).includes("lo"), os.userInfo().username);
}
