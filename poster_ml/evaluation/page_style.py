"""The style sheet of the report page: one column on a phone, two on a screen, ink on paper in print."""

from __future__ import annotations

STYLE = """
:root { --ink: #222; --soft: #5c5c5c; --line: #ddd; --paper: #fff; --panel: #f6f5f2; --accent: #a53f20;
  color-scheme: light dark; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ececea; --soft: #a9a9a6; --line: #3c3c3a; --paper: #181817; --panel: #232321;
    --accent: #f08a67; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); line-height: 1.5;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .7rem; padding-bottom: .3rem;
  border-bottom: 1px solid var(--line); }
.subtitle { color: var(--soft); margin: .3rem 0 1.2rem; overflow-wrap: anywhere; }
.cards { display: grid; gap: .7rem; margin: 0; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); }
.card { background: var(--panel); border-radius: .5rem; padding: .8rem .9rem; }
.card dt { color: var(--soft); font-size: .85rem; }
.card dd { margin: .1rem 0 0; font-size: 1.8rem; font-weight: 650; font-variant-numeric: tabular-nums; }
.card small { display: block; font-size: .8rem; font-weight: 400; color: var(--soft); line-height: 1.35; }
ul { margin: 0; padding-left: 1.2rem; }
li { margin: .35rem 0; max-width: 46rem; }
.note { color: var(--soft); font-size: .9rem; margin: .5rem 0 0; }
.figures { display: grid; gap: 1.2rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr));
  align-items: start; }
figure { margin: 0; }
figure.wide { grid-column: 1 / -1; }
/* The figures are drawn on white; in the dark they keep their paper. */
img { display: block; max-width: 100%; height: auto; margin: 0 auto; background: #fff;
  border-radius: .35rem; }
figcaption { color: var(--soft); font-size: .88rem; margin-top: .35rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .93rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .38rem .7rem .38rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
tbody th { font-weight: 400; }
thead th { color: var(--soft); font-weight: 600; font-size: .85rem; }
td { overflow-wrap: anywhere; }
/* Many columns: numbers stay whole, and the table scrolls sideways where it must. */
.data td, .data th { white-space: nowrap; overflow-wrap: normal; }
.data tbody th { position: sticky; left: 0; background: var(--paper); }
.figures + .scroll { margin-top: 1rem; }
pre { background: var(--panel); border-radius: .5rem; padding: .8rem; overflow-x: auto; font-size: .82rem; }
@media print {
  :root { --ink: #000; --soft: #444; --line: #bbb; --paper: #fff; --panel: #fff; }
  main { max-width: none; padding: 0; }
  .card { border: 1px solid var(--line); }
  .cards { grid-template-columns: repeat(4, 1fr); }
  .figures { grid-template-columns: 1fr 1fr; }
  figure, tr, .card { break-inside: avoid; }
  h2 { break-after: avoid; }
  img { max-height: 22cm; width: auto; }
  pre { white-space: pre-wrap; }
  .data { font-size: .75rem; }
  .data td, .data th { white-space: normal; }
}
"""
