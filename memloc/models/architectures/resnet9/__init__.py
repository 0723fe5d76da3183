"""ResNet-9 (science.md, Models): the paper's main architecture, with a width factor."""
