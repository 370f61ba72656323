"""The language of expressions: compiled, bounded before and as it is evaluated, and evaluated. CEL is cel.dev's."""
