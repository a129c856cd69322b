"""Images of containers: `store` is the adapter, all other modules are its parts.

`registry` and `local` find an image and bring its bytes; `manifests` and `challenges` (pure) read what
they answer; `tar` (pure) and `compression` read layers; `unpack` writes them, in a process of its own;
`inside` are the few calls that keep it inside its directory; `overlay` puts layers together.
"""
