"""The second backend: hooks compiled by pythonbpf and llvmlite's LLVM, linked with the mechanism.

`fits` says which hooks it takes and why not the others, `lower` writes them in the part of Python
that pythonbpf compiles rightly, `subset` checks that nothing else is in there, `compiler` has it
compiled in this process, `shim` writes what calls it from C, `link` joins the two objects.
"""
