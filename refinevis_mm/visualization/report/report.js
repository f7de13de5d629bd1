// Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
// The page of a report. Data comes from <script type="application/json">
// blocks: #report for the whole video, #frame-0, #frame-1 ... for its frames.
'use strict';

(() => {
  const NUM_CACHED = 24; // decoded frames kept
  const NUM_AHEAD = 3; // frames decoded before they are needed
  const SMOOTHING = 2; // pixels on both sides that an outline is averaged over
  const [DETECTED, RECOVERED, , ANNOTATED] = [0, 1, 2, 3, 4];

  const report = JSON.parse(find('report').textContent);
  const numFrames = report.times.length;
  const [height, width] = report.size;
  const canvas = find('canvas');
  const context = canvas.getContext('2d');
  const slider = find('slider');
  const cache = new Map();
  const state = {
    view: report.views[report.main],
    frame: 0, // asked for
    shown: null, // frame that is on the canvas
    selected: null, // track id
    pointed: null, // track id under the pointer or with the focus
    pointer: null, // place of the pointer on the canvas
    playing: false,
    due: 0, // when the next frame is, ms
    sort: {column: 'id', descending: false},
  };

  // Elements

  function find(id) {
    return document.getElementById(id);
  }

  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      element.setAttribute(name, value);
    }
    element.append(...children); // strings become text, never markup
    return element;
  }

  function swatch(color) {
    const element = make('span', {class: 'swatch', 'aria-hidden': 'true'});
    element.style.background = color;
    return element;
  }

  function setText(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  // Masks

  /** COCO's compressed run-length code -> run lengths, background first. */
  function readCounts(text) {
    const counts = [];
    for (let at = 0; at < text.length;) {
      let value = 0;
      let shift = 0;
      let code;
      do {
        code = text.charCodeAt(at++) - 48;
        value |= (code & 31) << shift;
        shift += 5;
      } while (code & 32);
      if (code & 16 && shift < 32) value |= -1 << shift;
      if (counts.length > 2) value += counts[counts.length - 2];
      counts.push(value);
    }
    return counts;
  }

  /**
   * Run-length code -> the pixels inside the box of the mask.
   *
   * Codes run down the columns. Returns {x, y, w, h, pixels, area}; pixels
   * are 0 or 1, row by row.
   */
  function decodeMask(text, rows) {
    const runs = [];
    let [left, right, top, bottom] = [Infinity, -1, rows, -1];
    let start = 0;
    let area = 0;
    readCounts(text).forEach((count, index) => {
      if (index % 2 && count) {
        const last = start + count - 1;
        const [x1, x2] = [Math.floor(start / rows), Math.floor(last / rows)];
        left = Math.min(left, x1);
        right = Math.max(right, x2);
        top = Math.min(top, x1 === x2 ? start % rows : 0);
        bottom = Math.max(bottom, x1 === x2 ? last % rows : rows - 1);
        runs.push([start, last]);
        area += count;
      }
      start += count;
    });
    if (!area) return {x: 0, y: 0, w: 0, h: 0, pixels: [], area};
    const [w, h] = [right - left + 1, bottom - top + 1];
    const pixels = new Uint8Array(w * h);
    for (const [first, last] of runs) {
      for (let at = first; at <= last; at++) {
        const x = Math.floor(at / rows);
        pixels[(at - x * rows - top) * w + x - left] = 1;
      }
    }
    return {x: left, y: top, w, h, pixels, area};
  }

  function contains(mask, x, y) {
    const [column, row] = [Math.floor(x) - mask.x, Math.floor(y) - mask.y];
    return column >= 0 && column < mask.w && row >= 0 && row < mask.h &&
      mask.pixels[row * mask.w + column] === 1;
  }

  /**
   * Outlines of a mask as loops of corners, the mask on the right-hand side.
   *
   * Every side of a pixel that faces the background is a step east (0), south
   * (1), west (2) or north (3); steps[corner] has a bit for each that starts
   * there. Where two loops touch, the right turn keeps them apart.
   */
  function traceLoops({w, h, pixels}) {
    const stride = w + 1;
    const moves = [1, stride, -1, -stride];
    const steps = new Uint8Array(stride * (h + 1));
    const inside = (x, y) =>
      x >= 0 && x < w && y >= 0 && y < h && pixels[y * w + x];
    for (let y = 0; y < h; y++) {
      for (let x = 0; x < w; x++) {
        if (!pixels[y * w + x]) continue;
        const corner = y * stride + x;
        if (!inside(x, y - 1)) steps[corner] |= 1;
        if (!inside(x + 1, y)) steps[corner + 1] |= 2;
        if (!inside(x, y + 1)) steps[corner + stride + 1] |= 4;
        if (!inside(x - 1, y)) steps[corner + stride] |= 8;
      }
    }
    const loops = [];
    for (let first = 0; first < steps.length; first++) {
      while (steps[first]) {
        const loop = [];
        let corner = first;
        let heading = 31 - Math.clz32(steps[first]);
        do {
          const turn = [1, 0, 3].find(
            (turn) => steps[corner] & 1 << (heading + turn) % 4);
          if (loop.length) heading = (heading + turn) % 4;
          steps[corner] &= ~(1 << heading);
          loop.push([corner % stride, Math.floor(corner / stride)]);
          corner += moves[heading];
        } while (corner !== first);
        loops.push(loop);
      }
    }
    return loops;
  }

  /** Outline of a mask with its stairs smoothed, in pixels of the frame. */
  function outline(mask) {
    const path = new Path2D();
    for (const loop of traceLoops(mask)) {
      const reach = loop.length > 12 ? SMOOTHING : 0;
      const mean = (at, axis) => {
        let sum = 0;
        for (let k = -reach; k <= reach; k++) {
          sum += loop[(at + k + loop.length) % loop.length][axis];
        }
        return sum / (2 * reach + 1);
      };
      loop.forEach((_, at) => {
        const [x, y] = [mask.x + mean(at, 0), mask.y + mean(at, 1)];
        if (at) path.lineTo(x, y);
        else path.moveTo(x, y);
      });
      path.closePath();
    }
    return path;
  }

  // Frames

  function readFrame(index) {
    if (!cache.has(index)) cache.set(index, decodeFrame(index));
    const frame = cache.get(index);
    cache.delete(index); // becomes the newest
    cache.set(index, frame);
    if (cache.size > NUM_CACHED) {
      const [oldest, gone] = cache.entries().next().value;
      cache.delete(oldest);
      gone.then(({image}) => image.close(), () => {});
    }
    return frame;
  }

  async function decodeFrame(index) {
    const data = JSON.parse(find(`frame-${index}`).textContent);
    const bytes = Uint8Array.from(atob(data.jpeg), (c) => c.charCodeAt(0));
    const blob = new Blob([bytes], {type: 'image/jpeg'});
    const image = await createImageBitmap(blob);
    const views = data.views.map((rows) => rows.map(
      ([id, label, score, kind, code]) => ({id, label, score, kind, code})));
    return {index, image, views};
  }

  /** Objects of the shown frame in the current view, by rising id. */
  function objects() {
    if (!state.shown) return [];
    const rows = state.shown.views[report.views.indexOf(state.view)];
    for (const row of rows) {
      if (row.code === null || row.mask) continue;
      row.mask = decodeMask(row.code, height);
      row.path = outline(row.mask);
    }
    return rows;
  }

  function colorOf(id) {
    return state.view.tracks.find((track) => track.id === id).color;
  }

  function describe({id, label, score, kind}) {
    const parts = [`id ${id}`, state.view.classes[label]];
    if (score !== null) parts.push(score.toFixed(2));
    return [...parts, report.states[kind]].join(' \u00b7 ');
  }

  // Picture

  function draw() {
    if (!state.shown) return;
    const box = canvas.getBoundingClientRect();
    const density = window.devicePixelRatio || 1;
    canvas.width = Math.max(1, Math.round(box.width * density));
    canvas.height = Math.max(1, Math.round(canvas.width * height / width));
    const scale = canvas.width / width;
    context.drawImage(state.shown.image, 0, 0, canvas.width, canvas.height);
    const rows = objects().filter((row) => row.mask);
    for (const row of rows) drawMask(row, scale, density);
    drawLabels(rows, scale, density, box.width);
    canvas.dataset.frame = state.shown.index;
    canvas.setAttribute('aria-label', `Frame ${state.shown.index}, ` +
      `${state.view.name}, ${rows.length} objects`);
  }

  function isDimmed(id) {
    return state.selected !== null && id !== state.selected;
  }

  function drawMask({id, kind, path}, scale, density) {
    const pointed = id === state.pointed;
    const line = 2 * density / scale;
    context.save();
    context.scale(scale, scale);
    context.lineJoin = 'round';
    context.fillStyle = context.strokeStyle = colorOf(id);
    context.globalAlpha = isDimmed(id) ? 0.1 : pointed ? 0.65 : 0.45;
    context.fill(path, 'evenodd');
    context.globalAlpha = isDimmed(id) ? 0.35 : 1;
    if (!isDimmed(id) && (pointed || kind === RECOVERED)) {
      context.lineWidth = line * (pointed ? 3 : 2);
      context.strokeStyle = '#ffffff';
      context.stroke(path);
      context.strokeStyle = context.fillStyle;
    }
    if (kind === RECOVERED) context.setLineDash([3 * line, 2 * line]);
    context.lineWidth = line;
    context.stroke(path);
    context.restore();
  }

  function drawLabels(rows, scale, density, shownWidth) {
    const roomy = shownWidth > 480;
    const size = (roomy ? 13 : 11) * density;
    const pad = 4 * density;
    const taken = [];
    context.font = `600 ${size}px system-ui, 'DejaVu Sans', sans-serif`;
    context.textBaseline = 'middle';
    for (const {id, label, score, kind, mask} of rows) {
      if (isDimmed(id)) continue;
      let text = `${id} ${state.view.classes[label]}`;
      if (roomy && score !== null) text += ` ${score.toFixed(2)}`;
      if (roomy && kind === RECOVERED) text += ' recovered';
      const w = context.measureText(text).width + 2 * pad;
      const h = size + pad;
      const x = clamp(mask.x * scale, 0, canvas.width - w);
      const lowest = canvas.height - h;
      const start = clamp(mask.y * scale - h, 0, lowest);
      const free = (y) => !taken.some((other) =>
        x < other.x + other.w && other.x < x + w &&
        y < other.y + h && other.y < y + h);
      let y = start;
      while (!free(y) && y < lowest) y += density;
      if (!free(y)) y = start;
      taken.push({x, y, w});
      context.fillStyle = colorOf(id);
      context.fillRect(x, y, w, h);
      context.fillStyle = textColor(colorOf(id));
      context.fillText(text, x + pad, y + h / 2 + density / 2);
    }
  }

  function textColor(color) {
    const [red, green, blue] = [1, 3, 5].map(
      (at) => parseInt(color.slice(at, at + 2), 16));
    return 0.299 * red + 0.587 * green + 0.114 * blue > 110 ? '#000' : '#fff';
  }

  function clamp(value, low, high) {
    return Math.max(low, Math.min(value, high));
  }

  // Where the player stands

  async function show(index) {
    const asked = clamp(index, 0, numFrames - 1);
    state.frame = asked;
    slider.value = asked;
    slider.setAttribute('aria-valuetext', `${asked} of ${numFrames - 1}, ` +
      `${report.times[asked].toFixed(2)} seconds`);
    setText(find('position'), `${asked} / ${numFrames - 1} \u00b7 ` +
      `${report.times[asked].toFixed(2)} s`);
    placePlayhead();
    try {
      const frame = await readFrame(asked);
      if (state.frame !== asked) return; // another was asked for since
      state.shown = frame;
    } catch (error) {
      setText(find('info'), `Frame ${asked} cannot be read: ${error.message}`);
      return;
    }
    draw();
    pointAgain();
    listObjects();
    tell();
    for (let k = 1; k <= Math.min(NUM_AHEAD, numFrames - 1); k++) {
      readFrame((asked + k) % numFrames).catch(() => {});
    }
  }

  function play(playing) {
    state.playing = playing;
    state.due = performance.now() + duration(state.frame);
    find('play').classList.toggle('playing', playing);
    find('play').setAttribute('aria-label', playing ? 'Pause' : 'Play');
    if (playing) requestAnimationFrame(tick);
    tell();
  }

  /** How long a frame is shown in ms. */
  function duration(index) {
    const next = report.times[index + 1] - report.times[index];
    const seconds = next > 0 ? next : 1 / report.fps;
    return 1000 * seconds / Number(find('speed').value);
  }

  function tick(now) {
    if (!state.playing) return;
    const ready = state.shown && state.shown.index === state.frame;
    if (ready && now >= state.due) {
      const next = (state.frame + 1) % numFrames;
      show(next);
      state.due = Math.max(state.due, now - 100) + duration(next);
    }
    requestAnimationFrame(tick);
  }

  function step(distance) {
    play(false);
    show(state.frame + distance);
  }

  function select(id) {
    state.selected = id === state.selected ? null : id;
    for (const button of document.querySelectorAll('button[data-track]')) {
      const pressed = button.dataset.track === String(state.selected);
      button.setAttribute('aria-pressed', pressed);
      const row = button.closest('.row, tr');
      if (row) {
        row.classList.toggle('selected', pressed);
        row.classList.toggle('dimmed', state.selected !== null && !pressed);
      }
    }
    draw();
    tell();
  }

  function setView(index) {
    const isTruth = (view) => view.key === 'ground_truth';
    const next = report.views[index];
    if (isTruth(next) !== isTruth(state.view)) state.selected = null;
    state.view = next;
    state.pointed = null;
    find(`view-${next.key}`).checked = true;
    buildTimeline();
    buildLegend();
    buildTable();
    draw();
    pointAgain();
    listObjects();
    tell();
  }

  // Pointing at objects

  /** The smallest object under the pointer. */
  function objectAt({x, y}) {
    const box = canvas.getBoundingClientRect();
    const [column, row] = [x / box.width * width, y / box.height * height];
    const hits = objects().filter(
      ({mask}) => mask && contains(mask, column, row));
    return hits.sort((a, b) => a.mask.area - b.mask.area)[0];
  }

  function pointAt(event) {
    const box = canvas.getBoundingClientRect();
    state.pointer = {x: event.clientX - box.left, y: event.clientY - box.top};
    pointAgain();
    tell();
  }

  /** Find what lies under a resting pointer, and place its text. */
  function pointAgain() {
    const tip = find('tip');
    if (!state.pointer) {
      tip.hidden = true;
      return;
    }
    const hit = objectAt(state.pointer);
    point(hit ? hit.id : null);
    canvas.style.cursor = hit ? 'pointer' : '';
    tip.hidden = !hit;
    if (!hit) return;
    setText(tip, describe(hit));
    const {x, y} = state.pointer;
    const limit = canvas.clientWidth - tip.offsetWidth;
    const above = y - tip.offsetHeight - 12;
    tip.style.left = `${clamp(x + 12, 0, Math.max(0, limit))}px`;
    tip.style.top = `${above < 0 ? y + 20 : above}px`;
  }

  function pointAway() {
    state.pointer = null;
    pointAgain();
    point(null);
    tell();
  }

  function point(id) {
    if (state.pointed === id) return;
    state.pointed = id;
    draw();
  }

  /** Say in words what is pointed at, selected or shown. */
  function tell() {
    if (!state.shown) return;
    const rows = objects();
    const named = rows.find(({id}) => id === state.pointed) ||
      rows.find(({id}) => id === state.selected);
    let text = `${state.view.name}: ${state.view.about}`;
    if (named) text = describe(named);
    else if (state.selected !== null) {
      text = `id ${state.selected} \u00b7 not in this frame`;
    }
    setText(find('info'), text);
  }

  // Lists

  function trackButton(id, ...children) {
    return make('button', {
      type: 'button',
      'data-track': id,
      'aria-pressed': id === state.selected,
    }, ...children);
  }

  /** Update the list in place, so that the focus stays where it is. */
  function listObjects() {
    const list = find('objects');
    const rows = objects();
    const old = new Map([...list.querySelectorAll('[data-track]')].map(
      (button) => [button.dataset.track, button]));
    const items = rows.map((row) => {
      const known = old.get(String(row.id));
      const button = known || objectButton(row.id);
      const [square, what, score, kind] = button.children;
      square.style.background = colorOf(row.id);
      button.setAttribute('aria-pressed', row.id === state.selected);
      setText(what, `${row.id} ${state.view.classes[row.label]}`);
      setText(score, row.score === null ? '' : row.score.toFixed(2));
      setText(kind, report.states[row.kind]);
      return known ? known.parentElement : make('li', {}, button);
    });
    const kept = new Set(items);
    [...list.children].filter((item) => !kept.has(item)).forEach(
      (item) => item.remove());
    items.forEach((item, at) => {
      if (list.children[at] !== item) {
        list.insertBefore(item, list.children[at] || null);
      }
    });
    if (!items.length) list.append(make('li', {class: 'empty'}, 'No objects'));
  }

  function objectButton(id) {
    const button = trackButton(
      id, swatch(''), make('span', {class: 'what'}),
      make('span', {class: 'score'}), make('span', {class: 'state'}));
    const on = () => {
      point(id);
      tell();
    };
    const off = () => {
      point(null);
      tell();
    };
    button.addEventListener('focus', on);
    button.addEventListener('pointerenter', on);
    button.addEventListener('blur', off);
    button.addEventListener('pointerleave', off);
    button.addEventListener('click', () => select(id));
    return button;
  }

  // Timeline

  function buildTimeline() {
    const rows = find('rows');
    rows.querySelectorAll('.row, .empty').forEach((row) => row.remove());
    for (const track of state.view.tracks) {
      const {id, name, color} = track;
      const bar = make('canvas', {'aria-hidden': 'true'});
      const text = `${id} ${name}`;
      const button = trackButton(
        id, swatch(color), make('span', {class: 'what'}, text));
      button.setAttribute('aria-label', `Track ${text}`);
      button.title = text;
      const row = make('div', {class: 'row'}, button, bar);
      row.classList.toggle('selected', id === state.selected);
      row.classList.toggle('dimmed', isDimmed(id));
      button.addEventListener('click', () => select(id));
      bar.addEventListener('click', (event) => {
        if (state.selected !== id) select(id);
        seek(event, bar);
      });
      bar.runs = track;
      rows.append(row);
    }
    if (!state.view.tracks.length) {
      rows.append(make('p', {class: 'empty'}, 'No tracks'));
    }
    layOut();
  }

  function seek(event, element) {
    const box = element.getBoundingClientRect();
    play(false);
    show(Math.floor((event.clientX - box.left) / box.width * numFrames));
  }

  function placePlayhead() {
    const part = (state.frame + 0.5) / numFrames;
    find('playhead').style.left =
      `calc(var(--names) + ${part} * (100% - var(--names)))`;
  }

  /** Paint what depends on the width of the timeline. */
  function layOut() {
    const ruler = find('ruler');
    const room = Math.max(2, ruler.clientWidth / 70);
    let distance = 1;
    while (numFrames / distance > room) {
      distance *= String(distance).startsWith('2') ? 2.5 : 2;
    }
    ruler.replaceChildren();
    for (let frame = 0; frame < numFrames; frame += distance) {
      const tick = make('span', {}, String(frame));
      tick.style.left = `${100 * frame / numFrames}%`;
      ruler.append(tick);
    }
    find('rows').querySelectorAll('canvas').forEach((bar) => {
      paintRuns(bar, bar.runs.runs, bar.runs.color, numFrames);
    });
  }

  /**
   * Paint when a track was seen: detected is a full bar, recovered a hatched
   * box, missed a dashed line, so that they differ without colours.
   */
  function paintRuns(bar, runs, color, total) {
    const density = window.devicePixelRatio || 1;
    const paint = bar.getContext('2d');
    const [w, h] = [bar.clientWidth, bar.clientHeight];
    bar.width = Math.round(w * density);
    bar.height = Math.round(h * density);
    paint.scale(density, density);
    paint.fillStyle = paint.strokeStyle = color;
    for (const [first, end, kind] of runs) {
      const x = first / total * w;
      const length = Math.max(1, (end - first) / total * w);
      paint.save();
      paint.beginPath();
      paint.rect(x, 0, length, h);
      paint.clip();
      if (kind === DETECTED || kind === ANNOTATED) {
        paint.fillRect(x, 2, length, h - 4);
      } else if (kind === RECOVERED) {
        paint.lineWidth = 2;
        paint.strokeRect(x + 1, 3, length - 2, h - 6);
        paint.beginPath();
        paint.rect(x, 2, length, h - 4);
        paint.clip();
        paint.beginPath();
        for (let at = -h; at < length; at += 5) {
          paint.moveTo(x + at, h - 2);
          paint.lineTo(x + at + h, -2);
        }
        paint.lineWidth = 1.5;
        paint.stroke();
      } else {
        paint.beginPath();
        paint.moveTo(x, h / 2);
        paint.lineTo(x + length, h / 2);
        paint.setLineDash([4, 4]);
        paint.lineWidth = 2;
        paint.stroke();
      }
      paint.restore();
    }
  }

  function buildLegend() {
    const color = getComputedStyle(document.body).color;
    find('legend').replaceChildren(...state.view.states.map((kind) =>
      make('li', {}, make('canvas', {'aria-hidden': 'true'}),
        report.states[kind])));
    find('legend').querySelectorAll('canvas').forEach((bar, at) => {
      paintRuns(bar, [[0, 1, state.view.states[at]]], color, 1);
    });
  }

  // Tables

  function columns() {
    const whole = (track, key) => String(track[key]);
    return [
      {key: 'id', name: 'Id', of: (track) => track.id},
      {key: 'name', name: 'Class', of: (track) => track.name},
      {key: 'score', name: 'Score', of: (track) => track.score,
        text: ({score}) => score === null ? '\u2013' : score.toFixed(3)},
      {key: 'first', name: 'First', of: (track) => track.first, text: whole},
      {key: 'last', name: 'Last', of: (track) => track.last, text: whole},
      ...state.view.states.map((kind) => ({
        key: `state-${kind}`,
        name: report.states[kind][0].toUpperCase() +
          report.states[kind].slice(1),
        of: (track) => countFrames(track, kind),
      })),
    ];
  }

  function countFrames({runs}, kind) {
    return runs.filter((run) => run[2] === kind).reduce(
      (sum, [first, end]) => sum + end - first, 0);
  }

  function buildTable() {
    const head = find('tracks').querySelector('thead tr');
    head.replaceChildren(...columns().map(({key, name}) => {
      const button = make('button', {type: 'button'}, name);
      button.addEventListener('click', () => {
        const {column, descending} = state.sort;
        state.sort = {
          column: key,
          descending: column === key && !descending,
        };
        sortTable();
      });
      const kind = key === 'name' ? 'name' : '';
      return make('th', {scope: 'col', class: kind, 'data-key': key}, button);
    }));
    sortTable();
  }

  function sortTable() {
    const all = columns();
    const chosen = all.find(({key}) => key === state.sort.column) || all[0];
    const direction = state.sort.descending ? -1 : 1;
    const compare = (a, b) => typeof a === 'string' ?
      a.localeCompare(b) : a - b;
    const tracks = [...state.view.tracks].sort((a, b) =>
      direction * compare(chosen.of(a), chosen.of(b)) || a.id - b.id);
    for (const cell of find('tracks').querySelectorAll('th')) {
      cell.removeAttribute('aria-sort');
      if (cell.dataset.key === chosen.key) {
        cell.setAttribute('aria-sort',
          state.sort.descending ? 'descending' : 'ascending');
      }
    }
    find('tracks').querySelector('tbody').replaceChildren(
      ...tracks.map((track) => tableRow(track, all)));
  }

  function tableRow(track, all) {
    const cells = all.map(({key, of, text}) => {
      const content = text ? text(track, key) : String(of(track));
      return make('td', {class: key === 'name' ? 'name' : ''}, content);
    });
    const button = trackButton(
      track.id, swatch(track.color), String(track.id));
    button.setAttribute('aria-label', `Track ${track.id}`);
    cells[0].replaceChildren(button);
    const row = make('tr', {}, ...cells);
    row.classList.toggle('selected', track.id === state.selected);
    row.addEventListener('click', () => {
      select(track.id);
      const seen = objects().some(({id, mask}) => id === track.id && mask);
      if (state.selected === track.id && !seen) step(track.first - state.frame);
    });
    return row;
  }

  function buildMetrics() {
    const scored = report.views.filter(({metrics}) => metrics);
    if (!scored.length) return;
    const section = find('metrics');
    const names = Object.keys(scored[0].metrics);
    section.hidden = false;
    section.querySelector('thead tr').append(
      ...names.map((name) => make('th', {scope: 'col'}, name)));
    section.querySelector('tbody').append(...scored.map((view) =>
      make('tr', {}, make('th', {scope: 'row'}, view.name),
        ...names.map((name) => {
          const values = scored.map((other) => other.metrics[name]);
          const value = view.metrics[name];
          const best = value > Math.min(...values) &&
            value === Math.max(...values);
          return make('td', {class: best ? 'best' : ''},
            value < 0 ? '\u2013' : (100 * value).toFixed(1));
        }))));
  }

  // Keys

  function onKey(event) {
    const {key, target} = event;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const arrow = key === 'ArrowLeft' || key === 'ArrowRight';
    if (target.matches('select') || arrow && target.matches(
      'input[type=radio], #tracks')) return;
    if (key === ' ' && target.matches('button')) return;
    if (key === ' ') play(!state.playing);
    else if (arrow) {
      step((key === 'ArrowLeft' ? -1 : 1) * (event.shiftKey ? 10 : 1));
    } else if (key === 'Home') step(-state.frame);
    else if (key === 'End') step(numFrames - 1 - state.frame);
    else if (key === 'Escape' && state.selected !== null) {
      select(state.selected);
    } else if (/^[1-9]$/.test(key) && report.views[key - 1]) {
      setView(key - 1);
    } else return;
    event.preventDefault();
  }

  // Start

  function buildViews() {
    report.views.forEach(({key, name}, index) => {
      const input = make('input', {
        type: 'radio', name: 'view', id: `view-${key}`, value: key,
      });
      input.addEventListener('change', () => setView(index));
      find('views').append(make('label', {}, input, make('span', {}, name)));
    });
    setText(find('last-view'), String(Math.min(9, report.views.length)));
  }

  function listen() {
    find('play').addEventListener('click', () => play(!state.playing));
    find('previous').addEventListener('click', () => step(-1));
    find('next').addEventListener('click', () => step(1));
    slider.addEventListener('input', () => {
      play(false);
      show(Number(slider.value));
    });
    canvas.addEventListener('pointermove', (event) => {
      if (event.pointerType !== 'touch') pointAt(event);
    });
    canvas.addEventListener('pointerleave', (event) => {
      if (event.pointerType !== 'touch') pointAway();
    });
    canvas.addEventListener('click', (event) => {
      pointAt(event);
      if (state.pointed !== null) select(state.pointed);
      else if (state.selected !== null) select(state.selected);
    });
    find('ruler').addEventListener('click', (event) => {
      seek(event, find('ruler'));
    });
    document.addEventListener('keydown', onKey);
    new ResizeObserver(draw).observe(canvas);
    new ResizeObserver(layOut).observe(find('rows'));
    matchMedia('(prefers-color-scheme: dark)').addEventListener(
      'change', buildLegend);
  }

  slider.max = numFrames - 1;
  find('stage').style.setProperty('--ratio', width / height);
  find('facts').append(...report.facts.map(([name, value]) =>
    make('li', {}, `${name} `, make('b', {}, value))));
  buildViews();
  buildMetrics();
  setView(report.main);
  listen();
  show(0);
  window.refinevisReport = Object.freeze({decodeMask, show});
})();
