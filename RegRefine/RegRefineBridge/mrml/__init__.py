"""MRML nodes to and from RegRefineLib's types: VTK and MRML, no Qt."""
