"""The output of compilers, tests and linters as located diagnostics: read, shown to the model, followed over steps."""
