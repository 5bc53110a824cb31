"""What a library is slow at, written for CUDA; :mod:`dipddpm.cuda.layers` chooses, the others are kernels."""
