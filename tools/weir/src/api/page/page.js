// The live page of a capture: status by server-sent events, overview and latest requests by polling.
"use strict";
const $ = (id) => document.getElementById(id);
const element = (tag, text, cls) => {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (cls) made.className = cls;
  return made;
};
const count = (n) => n.toLocaleString("en");
const bytes = (n) => {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) { n /= 1024; unit += 1; }
  return `${unit && n < 100 ? n.toFixed(1) : Math.round(n)} ${units[unit]}`;
};
const micros = (us) => us == null ? "–" : us < 1e3 ? `${us} µs` : us < 1e6 ? `${(us / 1e3).toFixed(1)} ms` : `${(us / 1e6).toFixed(2)} s`;
const clock = (s) => [s / 3600, s / 60 % 60, s % 60].map((part) => String(Math.floor(part)).padStart(2, "0")).join(":");

let state = "";
const ask = async (path, method = "GET") => {
  const answer = await fetch(`/api/v1/${path}`, { method });
  const document = await answer.json();
  if (!answer.ok) throw new Error(document.error ? document.error.message : answer.statusText);
  return document;
};
const notice = (text) => { $("notice").hidden = !text; $("notice").textContent = text || ""; };

const showStatus = (status) => {
  state = status.state;
  document.title = `${count(status.exchanges)} · ${status.name} · weir`;
  $("name").textContent = status.name;
  $("state").textContent = status.state;
  $("state").className = `state ${status.state}`;
  $("pause").textContent = status.state === "paused" ? "Resume" : "Pause";
  notice(status.last_error);
  const figures = [
    ["exchanges", count(status.exchanges)], ["rate", `${status.rate < 10 ? status.rate.toFixed(1) : count(Math.round(status.rate))}/s`],
    ["request bodies", bytes(status.request_bytes)], ["response bodies", bytes(status.response_bytes)],
    ["open", count(status.open_exchanges)], ["connections", count(status.open_connections)],
    ["left out", count(status.dropped)], ["lost", count(status.lost), status.lost > 0],
    ["time", clock(status.duration_s)],
  ];
  $("figures").replaceChildren(...figures.map(([label, figure, bad]) => {
    const box = element("div", undefined, bad ? "bad" : "");
    box.append(element("dt", label), element("dd", figure));
    return box;
  }));
};

const showOverview = (overview) => {
  $("groups").replaceChildren(...Object.entries(overview.by).map(([column, groups]) => {
    const box = element("div", undefined, "group");
    const list = element("ul");
    const most = Math.max(1, ...groups.map((group) => group.count));
    for (const group of groups) {
      const item = element("li");
      const bar = element("div", undefined, "bar");
      bar.style.width = `${group.count / most * 100}%`;
      const key = element("span", group.key === null || group.key === "" ? "(none)" : String(group.key), "key");
      key.title = key.textContent;
      item.append(key, element("span", `${count(group.count)} · ${micros(group.p50_us)}`, "n"), bar);
      list.append(item);
    }
    box.append(element("h2", column), list);
    return box;
  }));
};

const showRequests = (rows) => {
  $("rows").replaceChildren(...rows.map((row) => {
    const line = element("tr");
    const status = row.status == null ? (row.error || "–") : row.status;
    line.append(
      element("td", row.id, "n"), element("td", row.method),
      element("td", status, `n s${Math.floor((row.status || 0) / 100)}`), element("td", row.domain),
      element("td", row.path), element("td", row.type || ""), element("td", bytes(row.response_size || 0), "n"),
      element("td", micros(row.duration_us), "n"));
    line.title = row.url;
    return line;
  }));
};

const refresh = async () => {
  if (document.hidden || state === "ended") return;
  try {
    showOverview(await ask("overview?top=8"));
    showRequests((await ask("requests?sort=id:desc&limit=25")).requests);
  } catch (error) { if (state !== "ended") notice(error.message); }
};

const events = new EventSource("/api/v1/events");
events.addEventListener("status", (event) => showStatus(JSON.parse(event.data)));
events.addEventListener("error", () => {
  // The capture is gone; reloading the page later finds the next one only through its own link.
  events.close();
  state = "ended";
  $("state").textContent = "ended";
  $("state").className = "state ended";
  $("pause").disabled = $("stop").disabled = true;
});
const act = (button, path) => $(button).addEventListener("click", () => ask(path(), "POST").catch((error) => notice(error.message)));
act("pause", () => state === "paused" ? "resume" : "pause");
act("stop", () => "stop");
const loop = async () => { await refresh(); setTimeout(loop, 2000); };
loop();
