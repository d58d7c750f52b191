"""What the benchmarks are made of: networks, engines in processes of their own, rows, tables, a chart."""
