"""One module for each library that decodes images; `privpipe.data.image_files` chooses by content."""
