"""From a compiled policy to a loaded scheduler: model, templates, clang, libbpf."""
