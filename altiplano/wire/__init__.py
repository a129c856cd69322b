"""Bytes to messages and back, without any input or output.

`messages` holds the message classes, `json` and `protobuf` their two forms, `codec` chooses between these by media
type, `translate` turns parts of messages into values of `altiplano.model` and back.
"""
