"""The numbers of an audit as functions of lists, and the rewards that pay for these very numbers."""
