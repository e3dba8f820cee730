"""The judge: metrics computed with numpy and scipy alone, sharing no code with the judged."""
