// What Python puts before worker.js: the names of onnxruntime-web that it uses (explorer/web/site/page.py).
declare const ort: any;
