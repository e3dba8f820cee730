"""The judge: figures computed with numpy and scipy alone, sharing no code with the judged."""
