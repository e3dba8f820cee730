"""Between Slicer's scene and RegRefineLib: nodes in, a worker process, nodes out.

nodes, labels, transforms, outputs and charts know VTK and MRML; worker and transports know
processes; none of them knows a toolkit or torch.
"""
