"""`make pulled`: the way of nearly every user, walked on a machine that reaches no registry.

Nothing is built by the drill: Go is hidden, state and cache are empty, kind, kubectl, helm and the
manifests come from a server of releases, every image from a registry. Both are filled beforehand
with what pgdrill builds, under the names of the originals.
"""
