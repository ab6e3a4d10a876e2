"""Reads certificate signing requests, one a line in base64, and says of each whether OpenSSL takes it with its signature."""

import base64
import ctypes
import ctypes.util
import sys

crypto = ctypes.CDLL(ctypes.util.find_library("crypto"))
crypto.d2i_X509_REQ.restype = ctypes.c_void_p
crypto.d2i_X509_REQ.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_char_p), ctypes.c_long]
crypto.X509_REQ_get0_pubkey.restype = ctypes.c_void_p
crypto.X509_REQ_get0_pubkey.argtypes = [ctypes.c_void_p]
crypto.X509_REQ_verify.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
crypto.X509_REQ_free.argtypes = [ctypes.c_void_p]


def judge(der: bytes) -> bool:
    buffer = ctypes.create_string_buffer(der, len(der))
    start = ctypes.addressof(buffer)
    place = ctypes.cast(ctypes.pointer(ctypes.c_void_p(start)), ctypes.POINTER(ctypes.c_char_p))
    request = crypto.d2i_X509_REQ(None, place, len(der))
    if not request:
        return False
    read = ctypes.cast(place, ctypes.POINTER(ctypes.c_void_p))[0] - start
    key = crypto.X509_REQ_get0_pubkey(request)
    accepted = read == len(der) and bool(key) and crypto.X509_REQ_verify(request, key) == 1
    crypto.X509_REQ_free(request)
    crypto.ERR_clear_error()
    return accepted


for line in sys.stdin:
    print("1" if judge(base64.b64decode(line)) else "0")
