"""A page in the browser on which a registered model can be tried: prediction, heat map, similar training photos.

Does not own the classifier (`serving`).
"""

from pipeline.demo.demo import Answer, Demo, serve_page

__all__ = ["Answer", "Demo", "serve_page"]
