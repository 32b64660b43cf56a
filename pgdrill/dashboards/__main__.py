"""Write infra/dashboards/*.json again: `make dashboards`."""

from pgdrill.dashboards.catalogue import DASHBOARDS
from pgdrill.dashboards.grafana import file_of, text_of

for dashboard in DASHBOARDS:
    file_of(dashboard).write_text(text_of(dashboard))
    print(file_of(dashboard))
