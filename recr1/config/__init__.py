"""From YAML to checked parts: lines, options, places of values, builders."""
