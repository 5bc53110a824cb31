// Glue between the page and its libraries: DataTables sorts and filters the leaderboards, Vega draws the charts.
(async () => {
  "use strict";
  const charts = JSON.parse(document.getElementById("charts").textContent);

  for (const table of document.querySelectorAll("table.sortable")) {
    new DataTable(table, {
      order: [], autoWidth: false, pageLength: 10, lengthMenu: [10, 25, { label: "all", value: -1 }],
      layout: { topStart: "search", topEnd: "pageLength", bottomStart: "info", bottomEnd: "paging" },
      language: { search: "Filter", lengthMenu: "Rows _MENU_", info: "_START_ to _END_ of _TOTAL_ arms", infoFiltered: "(of _MAX_)" },
    });
    const pages = table.closest(".dt-container").querySelector("nav");
    pages?.setAttribute("aria-label", `Pages of ${table.dataset.name}`);
  }

  // The numbers of a chart become a table when a reader asks for them.
  for (const details of document.querySelectorAll("details.numbers")) {
    details.addEventListener("toggle", () => {
      const { spec, rows, columns } = charts[details.dataset.chart];
      const table = document.createElement("table");
      const head = table.createTHead().insertRow();
      for (const [, title] of columns) {
        const cell = document.createElement("th");
        cell.scope = "col";
        cell.textContent = title;
        head.append(cell);
      }
      const body = table.createTBody();
      for (const row of spec.datasets[rows]) {
        const line = body.insertRow();
        for (const [field, , form] of columns) {
          const value = row[field];
          line.insertCell().textContent = value === null ? "–" : form ? vega.formatLocale
            ? vega.defaultLocale().format(form)(value) : value : value;
        }
      }
      const scroll = document.createElement("div");
      Object.assign(scroll, { className: "scroll", tabIndex: 0 });
      scroll.setAttribute("role", "region");
      scroll.setAttribute("aria-label", details.textContent.trim());
      scroll.append(table);
      details.append(scroll);
    }, { once: true });
  }

  // `ast` lets Vega interpret its expressions: the policy of the page forbids to evaluate text as code.
  const options = { ast: true, actions: false, renderer: "svg", defaultStyle: false, tooltip: { disableDefaultStyle: true } };
  for (const [name, { spec }] of Object.entries(charts)) {
    const place = document.getElementById(name);
    await vegaEmbed(place, spec, options);
    place.querySelector("svg").setAttribute("aria-hidden", "true"); // the place itself is an image with a description
  }
  document.documentElement.dataset.drawn = Object.keys(charts).length;
})();
