"""One module a built model: ``python -m onnxopt_models.built.NAME SOURCE… OUTPUT`` makes its file.

They run in a process of their own, so that neither torch nor what it sets for a whole process
comes into anyone else's. Equal sources and package versions give equal bytes.
"""
