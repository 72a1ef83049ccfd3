"""Post-training quantisation: pictures in, a range table and INT8 models of both dialects out."""
