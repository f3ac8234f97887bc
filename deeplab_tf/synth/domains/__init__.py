"""What `deeplab-tf sample` draws, one file each: the file's name is that of `--domain`.

A file has SIZE, the height and width by default; `paths(folder, index, scenes)`, the files of a scene; `split(index,
scenes)`, its split, or "" where the set has none; `draw(seed, index, size)`, the arrays of those files; and GENERATOR,
which goes up when a scene looks different from before. TEXTS are files that are written once: name -> text.
"""
