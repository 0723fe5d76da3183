"""ResNet-50 (He et al. 2016) for images of any size."""
