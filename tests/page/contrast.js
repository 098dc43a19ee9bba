// Texts whose contrast to what is behind them is below 4.5 (WCAG 2.2, 1.4.3), and marks that one has to see where it is below 3 (1.4.11),
// each with the ratio.
(() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (color) => {
    const [r, g, b] = rgb(color).slice(0, 3).map((part) => part / 255).map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => {
    const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (rgb(color)[3] === 255) return color;
    }
    return "white";
  };
  const fill = (selector) => getComputedStyle(document.querySelector(selector)).fill;
  const poor = [];
  let checked = 0;
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].filter((node) => node.nodeType === 3 && node.data.trim());
    if (!own.length || !element.checkVisibility({ contentVisibilityAuto: true, visibilityProperty: true })) continue;
    const style = getComputedStyle(element);
    const isDrawn = element instanceof SVGElement;
    const grounds = [behind(element)];
    if (isDrawn && element.classList.contains("in")) {
      const killed = element.closest(".killed");
      grounds.splice(0, 1, ...(killed ? [fill(".hatch-ground"), fill(".hatch-line")] : [getComputedStyle(element.parentNode.querySelector(".bar")).fill]));
    }
    for (const ground of grounds) {
      checked += 1;
      const found = ratio(isDrawn ? style.fill : style.color, ground);
      if (found < 4.5) poor.push(`${element.tagName} ${element.className} ${own[0].data.trim()}: ${found.toFixed(2)}`);
    }
  }
  // What a picture means by its shapes, the bars of the causes, and where a field is.
  const shapes = { "line.signal": "stroke", "line.deadline": "stroke", "line.grace": "stroke", ".before": "stroke", ".bar": "stroke", ".asked": "fill", ".mark": "fill" };
  const means = Object.entries(shapes).map(([selector, part]) => [`.picture ${selector}`, part]);
  means.push([".causes rect", "fill"], ["input, select, form button", "borderTopColor"]);
  let marks = 0;
  for (const [selector, part] of means) {
    for (const element of document.querySelectorAll(selector)) {
      if (!element.checkVisibility({ contentVisibilityAuto: true })) continue;
      marks += 1;
      const found = ratio(getComputedStyle(element)[part], behind(element.parentElement));
      if (found < 3) poor.push(`${selector}: ${found.toFixed(2)}`);
    }
  }
  return { checked, marks, poor };
})()
