"""The style of the page: light and dark, for screens of any width, and for paper."""

STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --soft: #5b6570; --line: #d5dae0; --paper: #ffffff; --back: #f4f6f8;
  --blue: #1f6feb; --orange: #c2570c; --shade: 31, 111, 235; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --soft: #9aa5b1; --line: #3a424b; --paper: #171b20;
  --back: #20262d; --blue: #6ea8fe; --orange: #f0a05a; --shade: 110, 168, 254; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1rem 1.25rem 3rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .5rem 0; }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; border-bottom: 1px solid var(--line); padding-bottom: .25rem; }
h3 { font-size: 1rem; margin: 1.25rem 0 .25rem; }
p { margin: .4rem 0; max-width: 60rem; }
.score { font-size: 1.2rem; }
.score strong { font-size: 2.2rem; margin-right: .4rem; }
.soft, figcaption { color: var(--soft); font-size: .875rem; }
.scroll { overflow-x: auto; margin: .5rem 0 1rem; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: baseline;
  white-space: nowrap; }
th { font-weight: 600; }
th[scope=row], th:first-child { text-align: left; position: sticky; left: 0; background: var(--paper); }
td.text { text-align: left; white-space: normal; min-width: 12rem; }
.swatch { display: inline-block; width: .8em; height: .8em; margin-right: .35em; border: 1px solid var(--soft);
  border-radius: 2px; vertical-align: -.05em; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.bar { display: block; width: 9rem; height: .9rem; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .1rem 1rem; margin: .25rem 0; padding: 0;
  font-size: .875rem; }
.charts { display: flex; flex-wrap: wrap; gap: 1rem; }
.charts figure { flex: 1 1 320px; max-width: 560px; }
figure { margin: 0; }
.chart { width: 100%; height: auto; display: block; }
.chart text { fill: var(--soft); font-size: 13px; }
.chart .axis { stroke: var(--line); }
.chart path { fill: none; stroke-width: 2; }
.panels { display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: .75rem; }
.panels img { max-width: 100%; height: auto; display: block; border: 1px solid var(--line); background: #ffffff; }
.enlarged { image-rendering: pixelated; }
.shaded { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.right { font-weight: 700; }
pre { background: var(--back); padding: .75rem; overflow-x: auto; font-size: .8rem; line-height: 1.35; }
@media (max-width: 700px) {
  body { padding: .75rem .75rem 2rem; }
  .panels, .charts { display: block; }
  .panels figure, .charts figure { margin-bottom: .75rem; max-width: none; }
  .score strong { font-size: 1.8rem; }
}
@media print {
  :root { color-scheme: light; --ink: #000000; --soft: #444444; --line: #bbbbbb; --paper: #ffffff; --back: #ffffff;
    --blue: #1f6feb; --orange: #c2570c; --shade: 31, 111, 235; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  .scroll, pre { overflow: visible; }
  pre { white-space: pre-wrap; border: 1px solid var(--line); }
  th, td { padding: .1rem .35rem; }
  th { position: static; }
  h2, h3 { break-after: avoid; }
  figure, tr, article { break-inside: avoid; }
}
"""
"""A style sheet without any address."""
