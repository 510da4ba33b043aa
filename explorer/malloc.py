"""How the C library hands memory out: large tensors in pages of their own, small ones in pages that are kept."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # as in malloc.h
LARGE = 24 * 2**20  # bytes; a pass of ViT-S/8 at 480 px takes up to 22 MB at once, again and again
KEPT = 256 * 2**20  # bytes at the heap's end that stay with the process when they are freed


def settle() -> None:
    """Have each large tensor in pages of its own, which go back whole when it is freed, and keep the pages of others.

    By itself glibc sometimes gives every layer's tensors back and fetches them again: a fifth of a pass.
    """
    if glibc := _glibc():
        glibc.mallopt(M_MMAP_THRESHOLD, LARGE)
        glibc.mallopt(M_TRIM_THRESHOLD, KEPT)


def give_back() -> None:
    """Return freed memory to the system; glibc would keep what a forward pass used, a few hundred megabytes."""
    if glibc := _glibc():
        glibc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """The C library, None on another system or with another allocator."""
    try:
        library = ctypes.CDLL("libc.so.6")
    except OSError:
        return None
    return library if hasattr(library, "malloc_trim") else None
