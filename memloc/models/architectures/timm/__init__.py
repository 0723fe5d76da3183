"""Any image classifier of timm, `timm:NAME`."""
