# Turns a float32 model of tests/golden/model (llama, qwen2 or qwen3) into a checkpoint of Hugging
# Face's layout, by the definition of that layout (transformers' LlamaAttention: the first halves of
# a head's rotated pairs stand before the second ones):
#
#     make_checkpoint.py ../../golden/model/llama-f32.gguf llama LlamaForCausalLM
#
# Converting it must give back the model that it was made of, whose logits are proved there.
import struct,sys,json,os
def read_gguf(p):
    d=open(p,'rb').read(); o=0
    def u(fmt):
        nonlocal o
        v=struct.unpack_from('<'+fmt,d,o); o+=struct.calcsize('<'+fmt); return v[0]
    assert d[:4]==b'GGUF'; o=4; u('I'); nt=u('Q'); nk=u('Q')
    def s():
        nonlocal o
        n=u('Q'); v=d[o:o+n]; o+=n; return v
    F={0:'B',1:'b',2:'H',3:'h',4:'I',5:'i',6:'f',7:'?',10:'Q',11:'q',12:'d'}
    def val(t):
        if t==8: return s().decode('utf8','surrogateescape')
        if t==9:
            it=u('I'); n=u('Q'); return [val(it) for _ in range(n)]
        return u(F[t])
    kv={}
    for _ in range(nk):
        k=s().decode(); kv[k]=val(u('I'))
    ts=[]
    for _ in range(nt):
        n=s().decode(); nd=u('I'); dims=[u('Q') for _ in range(nd)]; t=u('I'); off=u('Q'); ts.append((n,dims,t,off))
    al=kv.get('general.alignment',32); base=(o+al-1)//al*al
    return kv,{n:(dims,t,d[base+off:]) for n,dims,t,off in ts}
src,out,hfarch=sys.argv[1:4]
kv,ts=read_gguf(src); arch=kv['general.architecture']; os.makedirs(out,exist_ok=True)
H=kv[arch+'.attention.head_count']; K=kv.get(arch+'.attention.head_count_kv',H)
names={'token_embd.weight':'model.embed_tokens.weight','output_norm.weight':'model.norm.weight','output.weight':'lm_head.weight'}
lay={'attn_norm.weight':'input_layernorm.weight','attn_q.weight':'self_attn.q_proj.weight','attn_k.weight':'self_attn.k_proj.weight','attn_v.weight':'self_attn.v_proj.weight','attn_q.bias':'self_attn.q_proj.bias','attn_k.bias':'self_attn.k_proj.bias','attn_v.bias':'self_attn.v_proj.bias','attn_output.weight':'self_attn.o_proj.weight','attn_q_norm.weight':'self_attn.q_norm.weight','attn_k_norm.weight':'self_attn.k_norm.weight','ffn_norm.weight':'post_attention_layernorm.weight','ffn_gate.weight':'mlp.gate_proj.weight','ffn_up.weight':'mlp.up_proj.weight','ffn_down.weight':'mlp.down_proj.weight'}
head={}; blob=b''
for n,(dims,t,data) in ts.items():
    assert t==0,(n,t)
    cols=dims[0]; rows=1
    for x in dims[1:]: rows*=x
    raw=data[:4*cols*rows]
    if n in names: hf=names[n]
    else:
        _,i,rest=n.split('.',2); hf='model.layers.%s.%s'%(i,lay[rest])
        if arch=='llama' and rest.startswith(('attn_q.','attn_k.')):
            heads=H if rest.startswith('attn_q') else K
            r=rows if len(dims)>1 else cols; c=cols if len(dims)>1 else 1; hd=r//heads
            R=[raw[4*c*i:4*c*(i+1)] for i in range(r)]
            # HF: first halves of all pairs, then second halves
            new=[None]*r
            for h in range(heads):
                for j in range(hd//2):
                    new[h*hd+j]=R[h*hd+2*j]; new[h*hd+hd//2+j]=R[h*hd+2*j+1]
            raw=b''.join(new)
    head[hf]={'dtype':'F32','shape':dims[::-1] ,'data_offsets':[len(blob),len(blob)+len(raw)]}
    blob+=raw
h=json.dumps(head).encode(); open(out+'/model.safetensors','wb').write(struct.pack('<Q',len(h))+h+blob)
g=lambda k,d=None: kv.get(arch+'.'+k,d)
V=ts['token_embd.weight'][0][1]
cfg={'architectures':[hfarch],'hidden_size':g('embedding_length'),'num_hidden_layers':g('block_count'),'intermediate_size':g('feed_forward_length'),'num_attention_heads':H,'num_key_value_heads':K,'max_position_embeddings':g('context_length'),'rms_norm_eps':g('attention.layer_norm_rms_epsilon'),'rope_theta':g('rope.freq_base',10000.0),'vocab_size':V}
if g('attention.key_length'): cfg['head_dim']=g('attention.key_length')
json.dump(cfg,open(out+'/config.json','w'))
vocab={chr(0x100+i) if i else '!':i for i in range(V-2)}
json.dump({'model':{'type':'BPE','vocab':vocab,'merges':["a b"]},'pre_tokenizer':{'type':'ByteLevel','use_regex':True},'added_tokens':[{'id':V-2,'content':'<s>','special':True}]},open(out+'/tokenizer.json','w'))
