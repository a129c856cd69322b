"""What every web page of altiplano is made of.

``app``     a Starlette application from `Page`s: templates, static files, safe headers, errors as sentences
``api``     the port through which pages reach the public HTTP APIs, in this process or another
``live``    one stream per viewer that says "changed"; pages fetch themselves anew and are morphed
``tables``  sorting, filtering and paging by the query string
``format``  sizes, times and numbers as people read them
``series``  a bounded memory of the last minutes, for plots

Pages are made on the server; the browser gets htmx, idiomorph and uPlot, and three small modules of our
own: `live.js`, `log.js`, `graph.js` (and `plot.js`, which hands numbers to uPlot).  Nothing runs inline,
so the content security policy forbids it.
"""
