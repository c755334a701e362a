// Draws a picture of boxes on a canvas, at any zoom.

import { colour } from "./states.js";

/** A picture that holds the pixels. */
export function pictureOf(pixels, columns, rows) {
  const picture = document.createElement("canvas");
  [picture.width, picture.height] = [columns, rows];
  const data = new ImageData(new Uint8ClampedArray(pixels.buffer), columns, rows);
  picture.getContext("2d").putImageData(data, 0, 0);
  return picture;
}

/**
 * view: left and top, in pixels of the canvas, and the width and height of a box there.
 * marks: boxes to frame, as [column, row, lineWidth].
 */
export function draw(canvas, picture, view, marks) {
  const context = canvas.getContext("2d");
  const { left, top, width, height } = view;
  context.fillStyle = colour("outside");
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingEnabled = width < 1 || height < 1;
  context.drawImage(picture, left, top, picture.width * width, picture.height * height);
  if (Math.min(width, height) >= 5 * devicePixelRatio) drawGaps(context, canvas, picture, view);
  context.strokeStyle = colour("cursor");
  for (const [column, row, line] of marks) {
    context.lineWidth = line * devicePixelRatio;
    context.strokeRect(left + column * width, top + row * height, width, height);
  }
}

function drawGaps(context, canvas, picture, { left, top, width, height }) {
  context.strokeStyle = colour("outside");
  context.lineWidth = Math.max(1, Math.min(3, Math.min(width, height) / 12));
  context.beginPath();
  const [right, bottom] = [left + picture.width * width, top + picture.height * height];
  for (let x = left; x <= right + 0.5; x += width) {
    if (x < -width || x > canvas.width + width) continue;
    context.moveTo(x, top);
    context.lineTo(x, bottom);
  }
  for (let y = top; y <= bottom + 0.5; y += height) {
    if (y < -height || y > canvas.height + height) continue;
    context.moveTo(left, y);
    context.lineTo(right, y);
  }
  context.stroke();
}
