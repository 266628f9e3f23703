"""The public Python API: thin functions over the parts of the package, re-exported by ``quadrat`` itself."""
