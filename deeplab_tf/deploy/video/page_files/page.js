"use strict";

// The live video is an <img> that the server keeps replacing. The statistics come as JSON over a WebSocket: first a
// message with the classes and the plots so far, then one message per tick. Of several sources the page shows a grid of
// small JPEGs, which it asks for again and again, because a browser keeps few connections to a host open; with ?source=1
// it shows that one by itself.

const KEPT = 240; // points in a plot
const at = (id) => document.getElementById(id);
let points = [];
let bars = [];
let tick = 0.5;
let retry = 1000;
let tiles = [];

function connect() {
  const socket = new WebSocket(location.href.replace(/^http/, "ws").replace(/[^/]*$/, "stats") + location.search);
  socket.onopen = () => {
    retry = 1000;
  };
  socket.onmessage = (message) => {
    const data = JSON.parse(message.data);
    if (data.title !== undefined) greet(data);
    else if (data.streams) updateGrid(data.streams);
    else if (data.stats) update(data);
    else state("waiting", "waiting for the first frame");
  };
  socket.onclose = () => {
    state("lost", "stream ended or connection lost; reconnecting");
    setTimeout(connect, retry);
    retry = Math.min(2 * retry, 10000);
  };
}

function greet(hello) {
  const alone = hello.source !== undefined;
  const several = hello.sources.length > 1;
  at("title").textContent = document.title = several && alone ? hello.sources[hello.source] : hello.title;
  at("grid").hidden = alone;
  at("one").hidden = !alone;
  at("all").hidden = !(several && alone);
  if (!alone) {
    if (tiles.length !== hello.sources.length) showGrid(hello.sources);
    return;
  }
  at("video").src = `/video?source=${hello.source}&${Date.now()}`; // a new address: an ended stream is not shown from the cache
  points = hello.history;
  tick = hello.tick;
  at("classes").replaceChildren(...hello.classes.map(row));
  bars = Array.from(at("classes").children);
}

function showGrid(names) {
  tiles = names.map((name, i) => {
    const tile = document.createElement("a");
    tile.href = `/?source=${i}`;
    const image = tile.appendChild(document.createElement("img"));
    image.alt = ""; // its name stands below; a source without a frame is black
    for (const kind of ["name", "figures"]) tile.appendChild(document.createElement("span")).className = kind;
    tile.querySelector(".name").textContent = name;
    refresh(image, i, 0);
    return tile;
  });
  at("grid").replaceChildren(...tiles);
}

async function refresh(image, i, number) {
  let wait = 1000;
  try {
    const answer = await fetch(`/tile?source=${i}&after=${number}`);
    if (answer.status === 200) {
      const before = image.src;
      image.src = URL.createObjectURL(await answer.blob());
      URL.revokeObjectURL(before);
      number = Number(answer.headers.get("Frame-Number"));
    }
    if (answer.ok) wait = document.hidden ? 500 : 50;
  } catch (error) {
    number = 0; // the stream has ended; another one counts anew
  }
  setTimeout(() => refresh(image, i, number), wait);
}

function updateGrid(streams) {
  const live = streams.filter(({ stats }) => stats && stats.age < 3).length;
  state(live ? "live" : "waiting", live === streams.length ? "live" : `${live} of ${streams.length} live`);
  streams.forEach(({ stats, waiting }, i) => {
    let words = `waiting for ${(waiting || 0).toFixed(0)} s`;
    if (stats && stats.age < 3) words = `${stats.fps.toFixed(1)} frames/s, latency ${ms(stats.latency_ms.end_to_end)}, ${stats.dropped} dropped`;
    else if (stats) words = `no new frame for ${stats.age.toFixed(0)} s`;
    tiles[i].querySelector(".figures").textContent = words;
  });
}

function row(label) {
  const item = document.createElement("li");
  const [name, bar] = ["name", "bar", "share", "count"].map((kind) => {
    const part = item.appendChild(document.createElement("span"));
    part.className = kind;
    return part;
  });
  name.textContent = label.name;
  bar.appendChild(document.createElement("span")).style.background = label.color;
  return item;
}

function update({ stats, point }) {
  points = points.concat([point]).slice(-KEPT);
  plot(at("latency-plot"), 2);
  plot(at("fps-plot"), 1);
  if (stats.age < 3) state("live", "live");
  else state("waiting", `no new frame for ${stats.age.toFixed(0)} s`);
  at("fps").textContent = stats.fps.toFixed(1);
  at("latency").textContent = ms(stats.latency_ms.end_to_end);
  at("dropped").textContent = stats.dropped;
  at("reconnects").textContent = stats.reconnects;
  at("temperature").textContent = stats.temperature_c === null ? "unknown" : `${stats.temperature_c.toFixed(0)} °C`;
  at("temperature").className = stats.throttled ? "hot" : "";
  for (const name of ["source", "runtime", "device"]) at(name).textContent = stats[name];
  if (stats.throttled) at("device").textContent += " (throttled)";
  at("stages").textContent = ["capture", "run", "post"].map((name) => `${name} ${ms(stats.latency_ms[name])}`).join(", ");
  at("frames").textContent = `${stats.captured} captured, ${stats.shown} shown, ${stats.dropped} dropped`;
  showRegions(stats.lines, stats.zones);
  bars.forEach((item, i) => {
    const share = 100 * (stats.class_shares[i] || 0);
    item.querySelector(".bar span").style.width = `${share}%`;
    item.querySelector(".share").textContent = `${share.toFixed(1)} %`;
    const count = stats.instances ? stats.instances[i] : 0;
    const seen = stats.distinct ? stats.distinct[i] : 0; // different ones since the start
    item.querySelector(".count").textContent = (count ? `× ${count}` : "") + (seen ? ` (${seen} so far)` : "");
  });
}

function showRegions(lines, zones) {
  at("regions").hidden = !zones;
  if (!zones) return;
  const rows = Object.entries(lines).map(([name, line]) => [name, `forward ${sum(line.forward)}`, `backward ${sum(line.backward)}`]);
  for (const [name, zone] of Object.entries(zones)) {
    const { visits, total, longest } = zone.dwell_s;
    const dwell = visits ? `stayed ${(total / visits).toFixed(1)} s on average, at most ${longest.toFixed(1)} s` : "";
    rows.push([name, `inside ${sum(zone.inside)}`, `entered ${sum(zone.entered)}`, `left ${sum(zone.left)}`, dwell]);
  }
  at("region-list").replaceChildren(...rows.map((words) => {
    const item = document.createElement("li");
    for (const word of words) item.appendChild(document.createElement("span")).textContent = word;
    item.firstChild.className = "name";
    return item;
  }));
}

function sum(counts) {
  const all = Object.values(counts).reduce((total, count) => total + count, 0);
  const each = Object.entries(counts).filter(([, count]) => count).map(([name, count]) => `${count} ${name}`);
  return each.length ? `${all} (${each.join(", ")})` : String(all);
}

function ms(time) {
  return `${time.toFixed(time < 10 ? 1 : 0)} ms`;
}

function state(kind, text) {
  const place = at("state");
  if (place.textContent !== text) place.textContent = text; // a screen reader announces changes only
  place.className = kind;
}

function plot(canvas, column) {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = width * ratio; // clears it, too
  canvas.height = height * ratio;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  const top = axisMaximum(Math.max(1, ...points.map((point) => point[column] || 0)));
  const [left, bottom] = [40, height - 18];
  const y = (value) => bottom - (value / top) * (bottom - 8);
  const x = (i) => width - 4 - ((points.length - 1 - i) * (width - 4 - left)) / (KEPT - 1);
  pen.font = "12px system-ui, sans-serif";
  pen.fillStyle = "#9aa4b2";
  pen.strokeStyle = "#343c48";
  for (const value of [0, top / 2, top]) {
    line(pen, [[left, y(value)], [width, y(value)]]);
    pen.fillText(String(value), 0, y(value) + 4);
  }
  pen.fillText(`${Math.round((KEPT * tick) / 60)} min ago`, left, height - 4);
  pen.textAlign = "right";
  pen.fillText("now", width, height - 4);
  pen.strokeStyle = "#5cb8ff";
  pen.lineWidth = 2;
  line(pen, points.map((point, i) => (point[column] === null ? null : [x(i), y(point[column])])));
}

function line(pen, places) {
  pen.beginPath();
  let drawing = false;
  for (const place of places) {
    if (place) drawing ? pen.lineTo(...place) : pen.moveTo(...place);
    drawing = Boolean(place); // no frame in this tick: a gap
  }
  pen.stroke();
}

function axisMaximum(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 6, 10].map((step) => step * power).find((step) => step >= value);
}

connect();
